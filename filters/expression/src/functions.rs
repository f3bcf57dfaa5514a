//! What expressions can do: CEL's own functions, and `matches` on an engine that is small and linear in time.

use std::sync::Arc;

use cel::common::types::{CelBool, CelString, STRING_TYPE};
use cel::common::value::CowVal;
use cel::{Env, ExecutionError};
use regex_lite::RegexBuilder;

/// The largest regular expression when compiled, in bytes.
const LARGEST_REGEX: usize = 256 << 10;

thread_local! {
    static ENVIRONMENT: Arc<Env> = Arc::new(make());
}

/// The same for every expression.
pub(crate) fn environment() -> Arc<Env> {
    ENVIRONMENT.with(Arc::clone)
}

fn make() -> Env {
    let mut env = Env::stdlib();
    // Neither is in the standard library as it is built here, so both names are free.
    let member =
        env.add_member_overload("matches", "matches_string", STRING_TYPE, vec![STRING_TYPE], matches);
    let global = env.add_overload("matches", "matches", vec![STRING_TYPE, STRING_TYPE], matches);
    debug_assert!(member.is_ok() && global.is_ok());
    env
}

/// `text.matches(regex)`: somewhere in the text, as CEL has it.
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = |at: usize| args.get(at).and_then(|value| value.downcast_ref::<CelString<'_>>());
    let (Some(text), Some(pattern)) = (text(0), text(1)) else {
        return Err(ExecutionError::missing_argument_or_target());
    };
    let regex = RegexBuilder::new(pattern.inner()).size_limit(LARGEST_REGEX).build();
    let regex = regex.map_err(|error| ExecutionError::function_error("matches", error))?;
    Ok(CowVal::owned(CelBool::from(regex.is_match(text.inner()))))
}
