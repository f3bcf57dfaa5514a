//! Who a request is from, as far as it could show.

use std::rc::Rc;

use crate::jwt::Verified;

/// What was verified of a request's credentials.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    pub(crate) token: Option<Verified>,
    /// The name of its API key.
    pub(crate) api_key: Option<Rc<str>>,
    /// The user of its password.
    pub(crate) user: Option<Rc<str>>,
}

impl Identity {
    /// Nothing was shown, or nothing that held.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.token.is_none() && self.api_key.is_none() && self.user.is_none()
    }
}
