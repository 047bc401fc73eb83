//! Committing offsets, reading them back, forgetting them.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, TopicName,
};

use super::{Call, text};
use crate::group::MemberRef;
use crate::group::commits::{Commit, Commits, Place};

/// What became of each partition of a topic.
type Judged = (TopicName, Vec<(i32, Result<(), ResponseError>)>);

pub fn commit(call: &Call<'_>, ask: OffsetCommitRequest) -> OffsetCommitResponse {
    let member = MemberRef { id: &ask.member_id, instance: ask.group_instance_id.as_deref() };
    let mut sound = Vec::new();
    // Each partition is judged by itself; those found sound are then written together.
    let judged: Vec<Judged> = ask
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let checked = check(call, &topic.name, partition).map(|entry| sound.push(entry));
                (partition.partition_index, checked)
            });
            let partitions = partitions.collect();
            (topic.name, partitions)
        })
        .collect();
    let written = call.shared.groups.commit(&ask.group_id, member, ask.generation_id_or_member_epoch, &sound);
    let topics = judged.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, checked)| {
            let error_code = written.and(checked).err().map_or(0, |error| error.code());
            OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(error_code)
        });
        OffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn check(
    call: &Call<'_>,
    topic: &TopicName,
    asked: &OffsetCommitRequestPartition,
) -> Result<(Place, Commit), ResponseError> {
    let known = call.shared.topics.by_name(topic).and_then(|topic| topic.partition(asked.partition_index));
    known.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let commit = Commit {
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: asked.committed_metadata.as_ref().map(|metadata| metadata.to_string()).unwrap_or_default(),
    };
    Commits::check(&commit)?;
    Ok((Place { topic: topic.to_string(), partition: asked.partition_index }, commit))
}

/// From this version on, several groups are asked for at once.
const MANY_GROUPS_FROM: i16 = 8;

/// Stands for "nothing committed".
const NO_COMMIT: Commit = Commit { offset: -1, leader_epoch: -1, metadata: String::new() };

/// Commits of one topic, by partition.
type OfTopic = (TopicName, Vec<(i32, Commit)>);

pub fn fetch(call: &Call<'_>, ask: OffsetFetchRequest) -> OffsetFetchResponse {
    if call.version < MANY_GROUPS_FROM {
        let asked =
            ask.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
        let topics = find(call, &ask.group_id, asked).into_iter().map(|(name, commits)| {
            let partitions = commits.into_iter().map(|(index, commit)| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(commit.offset)
                    .with_committed_leader_epoch(commit.leader_epoch)
                    .with_metadata(Some(text(commit.metadata)))
            });
            OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
        });
        return OffsetFetchResponse::default().with_topics(topics.collect());
    }
    let groups = ask.groups.into_iter().map(|group| {
        let asked =
            group.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
        let topics = find(call, &group.group_id, asked).into_iter().map(|(name, commits)| {
            let partitions = commits.into_iter().map(|(index, commit)| {
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(index)
                    .with_committed_offset(commit.offset)
                    .with_committed_leader_epoch(commit.leader_epoch)
                    .with_metadata(Some(text(commit.metadata)))
            });
            OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
        });
        let topics = topics.collect();
        OffsetFetchResponseGroup::default().with_group_id(group.group_id).with_topics(topics)
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

/// The commits asked for, or all of the group's.
fn find(call: &Call<'_>, group: &str, asked: Option<Vec<(TopicName, Vec<i32>)>>) -> Vec<OfTopic> {
    let commits = &call.shared.groups.commits;
    let Some(asked) = asked else {
        let mut all: Vec<OfTopic> = Vec::new();
        for (place, commit) in commits.of_group(group) {
            match all.last_mut().filter(|(name, _)| **name == *place.topic.as_str()) {
                Some((_, partitions)) => partitions.push((place.partition, commit)),
                None => all.push((TopicName(text(place.topic)), vec![(place.partition, commit)])),
            }
        }
        return all;
    };
    asked
        .into_iter()
        .map(|(name, indexes)| {
            let found = indexes.into_iter().map(|partition| {
                let place = Place { topic: name.to_string(), partition };
                (partition, commits.get(group, &place).unwrap_or(NO_COMMIT))
            });
            let found = found.collect();
            (name, found)
        })
        .collect()
}

pub fn delete(call: &Call<'_>, ask: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let groups = &call.shared.groups;
    // What a group with members commits next would undo the deletion.
    let has_members = groups.with(&ask.group_id, |group| !group.members.is_empty()).unwrap_or(false);
    if has_members {
        return OffsetDeleteResponse::default().with_error_code(ResponseError::NonEmptyGroup.code());
    }
    if !groups.commits.has(&ask.group_id) {
        return OffsetDeleteResponse::default().with_error_code(ResponseError::GroupIdNotFound.code());
    }
    let places = ask.topics.iter().flat_map(|topic| {
        let place = |index| Place { topic: topic.name.to_string(), partition: index };
        topic.partitions.iter().map(move |partition| place(partition.partition_index))
    });
    if let Err(error) = groups.commits.delete(&ask.group_id, &places.collect::<Vec<_>>()) {
        tracing::error!(group = &**ask.group_id, %error, "commits not deleted");
        return OffsetDeleteResponse::default()
            .with_error_code(ResponseError::CoordinatorNotAvailable.code());
    }
    let topics = ask.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetDeleteResponsePartition::default().with_partition_index(partition.partition_index)
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
