//! What differs in the cases of `services.rs`.

use super::{Deliberate, Guests, NOT_THERE, Start, place};

pub(super) const ALL: &[Deliberate] = &[
    Deliberate {
        case: "set property",
        reason: "What one filter sets under a path of several parts, the next reads under the same path.",
        places: &[place(
            Guests,
            &["[reading]   property custom.key -> 1"],
            &["[reading]   property custom.key -> 0 two"],
        )],
    },
    Deliberate {
        case: "root calls",
        reason: NOT_THERE,
        places: &[place(
            Start,
            &["[root]   get request-headers :path -> 2"],
            &["[root]   get request-headers :path -> 1"],
        )],
    },
    Deliberate {
        case: "legacy roots",
        reason: "Filters built for Envoy before 1.33, which removed these, read them.",
        places: &[place(
            Guests,
            &[
                "[props]   property cluster_name -> 1",
                "[props]   property route_name -> 1",
                "[props]   property listener_direction -> 1",
            ],
            &[
                "[props]   property cluster_name -> 0 up",
                "[props]   property route_name -> 0 a-route",
                "[props]   property listener_direction -> 0 \\00\\00\\00\\00\\00\\00\\00\\00",
            ],
        )],
    },
    Deliberate {
        case: "log levels",
        reason: "The process's log has no level above error; the line is there whole.",
        places: &[place(Guests, &["[log] critical (CRITICAL)"], &["[log] critical (ERROR)"])],
    },
];
