//! What the system lets a worker do.

use std::fs;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetError, RulesetStatus, Scope,
};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};

/// Standard input, output and error: there is no number left for another file or connection.
const FILES: u64 = 3;

/// A system that does not confine.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    #[error("limits cannot be set: {0}")]
    Limit(#[from] nix::Error),
    #[error("the process does not know itself: {0}")]
    Itself(#[from] std::io::Error),
    #[error("landlock: {0}")]
    Landlock(#[from] RulesetError),
}

/// A confined process.
#[derive(Clone, Debug)]
pub struct Confined {
    /// How far Landlock holds here.
    pub landlock: String,
    /// Resident memory up to which statements go on in this process.
    most_resident: i64,
}

impl Confined {
    /// False when a statement has made the process so large that the next one would find too little room.
    pub fn has_room(&self) -> bool {
        resident().is_some_and(|resident| resident <= self.most_resident)
    }
}

/// Confines this process for good: no file, no connection, no other process, and `memory` bytes more than it has now.
/// Whatever else it holds open is closed.
pub fn confine(memory: u64) -> Result<Confined, ConfineError> {
    close_inherited()?;
    let begun = address_space()?;
    limit(Resource::RLIMIT_AS, begun + memory)?;
    limit(Resource::RLIMIT_FSIZE, 0)?;
    limit(Resource::RLIMIT_CORE, 0)?;
    limit(Resource::RLIMIT_MEMLOCK, 0)?;
    limit(Resource::RLIMIT_MSGQUEUE, 0)?;
    // Holds for everybody but root.
    limit(Resource::RLIMIT_NPROC, 0)?;
    let landlock = landlock()?;
    limit(Resource::RLIMIT_NOFILE, FILES)?;
    let most_resident = resident().unwrap_or_default() + (memory / 2) as i64;
    Ok(Confined { landlock, most_resident })
}

/// The system ends the process after this much more processor time.
pub fn limit_cpu(seconds: u64) -> Result<(), ConfineError> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let spent = usage.user_time().tv_sec() + usage.system_time().tv_sec();
    let (_, hard) = getrlimit(Resource::RLIMIT_CPU)?;
    let soft = u64::try_from(spent).unwrap_or_default() + seconds + 1;
    Ok(setrlimit(Resource::RLIMIT_CPU, soft.min(hard), hard)?)
}

fn limit(resource: Resource, most: u64) -> Result<(), ConfineError> {
    let (_, hard) = getrlimit(resource)?;
    let most = most.min(hard);
    Ok(setrlimit(resource, most, most)?)
}

fn close_inherited() -> Result<(), ConfineError> {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for number in open.into_iter().filter(|number| *number as u64 >= FILES) {
        // The one that listed them is closed already.
        _ = nix::unistd::close(number);
    }
    Ok(())
}

/// Bytes of address space that are taken now.
fn address_space() -> Result<u64, ConfineError> {
    let status = fs::read_to_string("/proc/self/status")?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB"));
    let size = size.and_then(|size| size.trim().parse::<u64>().ok());
    size.map(|size| size * 1024)
        .ok_or_else(|| std::io::Error::other("/proc/self/status has no VmSize").into())
}

/// The most memory that this process has ever held, in bytes.
fn resident() -> Option<i64> {
    Some(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss() * 1024)
}

/// No path and no port, as far as the kernel knows how.
fn landlock() -> Result<String, ConfineError> {
    let newest = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => "enforced".to_string(),
        RulesetStatus::PartiallyEnforced => "enforced as far as this kernel knows it".to_string(),
        RulesetStatus::NotEnforced => "not known to this kernel".to_string(),
    })
}
