//! Being a member of a group: joining, learning one's part, staying alive, leaving.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::{Call, text};
use crate::group::{JoinAsk, MemberRef, SyncAsk};

/// Versions of JoinGroup with a change in meaning.
const REBALANCE_TIMEOUT_FROM: i16 = 1;
const MEMBER_ID_REQUIRED_FROM: i16 = 4;
const PROTOCOL_TYPE_TOLD_FROM: i16 = 7;
const SKIP_ASSIGNMENT_FROM: i16 = 9;

/// The version of LeaveGroup from which several members may leave at once.
const MANY_LEAVE_FROM: i16 = 3;

pub async fn join(call: &Call<'_>, ask: JoinGroupRequest) -> JoinGroupResponse {
    let refused = |error: ResponseError, member_id: String| {
        JoinGroupResponse::default()
            .with_error_code(error.code())
            .with_generation_id(-1)
            .with_member_id(text(member_id))
    };
    let member_id = ask.member_id.to_string();
    if ask.group_id.is_empty() {
        return refused(ResponseError::InvalidGroupId, member_id);
    }
    let session = millis(ask.session_timeout_ms);
    let rebalance =
        if call.version >= REBALANCE_TIMEOUT_FROM { millis(ask.rebalance_timeout_ms) } else { session };
    let protocols =
        ask.protocols.iter().map(|protocol| (protocol.name.to_string(), protocol.metadata.clone()));
    let joined = call.shared.groups.join(
        &ask.group_id,
        JoinAsk {
            member_id,
            instance: ask.group_instance_id.as_ref().map(|instance| instance.to_string()),
            client_id: call.client_id.clone(),
            client_host: format!("/{}", call.origin.peer.ip().to_canonical()),
            session,
            rebalance,
            protocol_type: ask.protocol_type.to_string(),
            protocols: protocols.collect(),
            id_required: call.version >= MEMBER_ID_REQUIRED_FROM,
            can_skip_assignment: call.version >= SKIP_ASSIGNMENT_FROM,
        },
    );
    let joined = match joined.await {
        Ok(joined) => joined,
        Err(fault) => return refused(fault.error, fault.member_id),
    };
    let members = joined.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.id))
            .with_group_instance_id(member.instance.map(text))
            .with_metadata(member.metadata)
    });
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type((call.version >= PROTOCOL_TYPE_TOLD_FROM).then(|| text(joined.protocol_type)))
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(joined.member_id))
        .with_members(members.collect())
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(ms.max(0) as u64)
}

pub async fn sync(call: &Call<'_>, ask: SyncGroupRequest) -> SyncGroupResponse {
    let member = MemberRef { id: &ask.member_id, instance: ask.group_instance_id.as_deref() };
    let assignments =
        ask.assignments.iter().map(|part| (part.member_id.to_string(), part.assignment.clone()));
    let sync_ask = SyncAsk {
        generation: ask.generation_id,
        protocol_type: ask.protocol_type.as_ref().map(|name| name.to_string()),
        protocol: ask.protocol_name.as_ref().map(|name| name.to_string()),
        assignments: assignments.collect(),
    };
    match call.shared.groups.sync(&ask.group_id, member, sync_ask).await {
        Ok(synced) => SyncGroupResponse::default()
            .with_protocol_type(Some(text(synced.protocol_type)))
            .with_protocol_name(Some(text(synced.protocol)))
            .with_assignment(synced.assignment),
        Err(error) => SyncGroupResponse::default().with_error_code(error.code()),
    }
}

pub fn heartbeat(call: &Call<'_>, ask: HeartbeatRequest) -> HeartbeatResponse {
    let member = MemberRef { id: &ask.member_id, instance: ask.group_instance_id.as_deref() };
    let beaten = call.shared.groups.heartbeat(&ask.group_id, member, ask.generation_id);
    HeartbeatResponse::default().with_error_code(beaten.err().map_or(0, |error| error.code()))
}

pub fn leave(call: &Call<'_>, ask: LeaveGroupRequest) -> LeaveGroupResponse {
    let leave_one = |member: &MemberIdentity| {
        let named = MemberRef { id: &member.member_id, instance: member.group_instance_id.as_deref() };
        call.shared.groups.leave(&ask.group_id, named).err().map_or(0, |error| error.code())
    };
    if call.version < MANY_LEAVE_FROM {
        let member = MemberIdentity::default().with_member_id(ask.member_id.clone());
        return LeaveGroupResponse::default().with_error_code(leave_one(&member));
    }
    let members = ask.members.iter().map(|member| {
        MemberResponse::default()
            .with_error_code(leave_one(member))
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
    });
    LeaveGroupResponse::default().with_members(members.collect())
}
