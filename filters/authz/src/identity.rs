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
    /// What the client's certificate says it is, where that matters and the host knows it.
    pub(crate) principal: Option<String>,
}

impl Identity {
    /// The request has no credentials that held.
    pub(crate) fn has_no_credentials(&self) -> bool {
        self.token.is_none() && self.api_key.is_none() && self.user.is_none()
    }

    /// Nobody, by whatever means.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.has_no_credentials() && self.principal.is_none()
    }
}
