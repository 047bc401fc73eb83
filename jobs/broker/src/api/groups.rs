//! Groups as administrators see them.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Call, text};
use crate::group::State;

/// The protocol this broker's groups follow.
const CLASSIC: &str = "classic";

pub fn list(call: &Call<'_>, ask: ListGroupsRequest) -> ListGroupsResponse {
    let wanted = |filter: &[StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let groups = call
        .shared
        .groups
        .list()
        .into_iter()
        .filter(|(_, _, state)| {
            wanted(&ask.states_filter, state.name()) && wanted(&ask.types_filter, CLASSIC)
        })
        .map(|(id, protocol_type, state)| {
            ListedGroup::default()
                .with_group_id(GroupId(text(id)))
                .with_protocol_type(text(protocol_type))
                .with_group_state(StrBytes::from_static_str(state.name()))
                .with_group_type(StrBytes::from_static_str(CLASSIC))
        });
    ListGroupsResponse::default().with_groups(groups.collect())
}

pub fn describe(call: &Call<'_>, ask: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let groups = ask.groups.into_iter().map(|id| describe_one(call, id));
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn describe_one(call: &Call<'_>, id: GroupId) -> DescribedGroup {
    let groups = &call.shared.groups;
    let described = groups.with(&id, |group| {
        let protocol = group.protocol.clone().unwrap_or_default();
        // Before the leader has decided there is nothing true to say of parts.
        let settled = group.state == State::Stable;
        let members = group.members.values().map(|member| {
            let told = DescribedGroupMember::default()
                .with_member_id(text(&member.id))
                .with_group_instance_id(member.instance.clone().map(text))
                .with_client_id(text(&member.client_id))
                .with_client_host(text(&member.client_host));
            if !settled {
                return told;
            }
            told.with_member_metadata(member.metadata(&protocol))
                .with_member_assignment(member.assignment.clone())
        });
        DescribedGroup::default()
            .with_group_state(StrBytes::from_static_str(group.state.name()))
            .with_protocol_type(text(&group.protocol_type))
            .with_members(members.collect())
            .with_protocol_data(text(protocol.clone()))
    });
    let described = described.unwrap_or_else(|_| {
        let state = if groups.commits.has(&id) { State::Empty.name() } else { "Dead" };
        DescribedGroup::default().with_group_state(StrBytes::from_static_str(state))
    });
    described.with_group_id(id).with_authorized_operations(i32::MIN)
}

pub fn delete(call: &Call<'_>, ask: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let results = ask.groups_names.into_iter().map(|id| {
        let error_code = call.shared.groups.delete(&id).err().map_or(0, |error| error.code());
        DeletableGroupResult::default().with_group_id(id).with_error_code(error_code)
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}
