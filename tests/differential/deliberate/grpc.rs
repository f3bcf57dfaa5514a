//! What differs in the cases of `grpc.rs`.

use super::{Deliberate, Guests, Place, Upstreams, place};

const CANCELLED: &str = "The service is told that the call or stream was cancelled, not that the caller broke: gRPC's servers report the one as CANCELLED, the other as an internal error.";

const CANCELLED_END: &[Place] = &[place(Upstreams, &["   end: Reset(Some(2))"], &["   end: Reset(Some(8))"])];

const NO_STATUS: &str = "A status that is no number, or none of gRPC's, is UNKNOWN, as gRPC has it. Envoy's number for it is none of gRPC's either, and few filters expect it.";

const UNKNOWN: &[Place] = &[place(
    Guests,
    &["[grpc] grpc_close ctx=1 token=5 status=4294967295"],
    &["[grpc] grpc_close ctx=1 token=5 status=2"],
)];

const OWN_MESSAGE: &str = "The text of a failure that no service sent is ours.";

const STALE: Place = place(
    Guests,
    &["[grpc]   grpc-close -> 2", "[grpc]   grpc-cancel -> 2"],
    &["[grpc]   grpc-close -> 1", "[grpc]   grpc-cancel -> 1"],
);

pub(super) const ALL: &[Deliberate] = &[
    Deliberate {
        case: "gRPC call without a limit",
        reason: "A timeout of 0 is none. Envoy tells the service of a deadline that has passed, which gRPC's libraries take at its word.",
        places: &[place(Upstreams, &["   grpc-timeout: 0m"], &[])],
    },
    Deliberate { case: "gRPC call timeout", reason: CANCELLED, places: CANCELLED_END },
    Deliberate { case: "gRPC cancel", reason: CANCELLED, places: CANCELLED_END },
    Deliberate {
        case: "gRPC get_status",
        reason: "proxy_get_status says what the service said, decoded, and nothing else. Envoy shows the escapes and adds its own word for where a response came from.",
        places: &[place(
            Guests,
            &["[grpc]   callout-status -> 0 not%20now{via_upstream}"],
            &["[grpc]   callout-status -> 0 not now"],
        )],
    },
    Deliberate { case: "gRPC strange status", reason: NO_STATUS, places: UNKNOWN },
    Deliberate { case: "gRPC status beyond", reason: NO_STATUS, places: UNKNOWN },
    Deliberate {
        case: "gRPC stream HTTP 403",
        reason: "What answered is no gRPC service: its HTTP status and headers are shown, so that a filter can say what it met.",
        places: &[place(Guests, &[], &["[grpc]   | :status: 403"])],
    },
    Deliberate {
        case: "gRPC stream unavailable",
        reason: OWN_MESSAGE,
        places: &[place(
            Guests,
            &[
                "[grpc]   | grpc-message: upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            ],
            &["[grpc]   | grpc-message: the upstream refused the connection"],
        )],
    },
    Deliberate {
        case: "gRPC stream reset at first",
        reason: OWN_MESSAGE,
        places: &[place(
            Guests,
            &[
                "[grpc]   | grpc-message: upstream connect error or disconnect/reset before headers. reset reason: remote reset",
            ],
            &["[grpc]   | grpc-message: the upstream ended the stream"],
        )],
    },
    Deliberate {
        case: "gRPC maps",
        reason: "There is no message outside its own callback: NotFound, as the written ABI has it. A message that was received is the guest's to read: a change to it, which Envoy takes, would be seen by nobody.",
        places: &[
            place(
                Guests,
                &["[grpc]   buffer GrpcMessage 0 4294967295 -> 0 "],
                &["[grpc]   buffer GrpcMessage 0 4294967295 -> 1"],
            ),
            place(
                Guests,
                &["[grpc]   set-buffer GrpcMessage 0 0 -> 0"],
                &["[grpc]   set-buffer GrpcMessage 0 0 -> 2"],
            ),
        ],
    },
    Deliberate {
        case: "gRPC token of a call",
        reason: "A call has ended when its answer is shown, so that the guest may make the next one there even at its limit of callouts; the Rust and the Go SDK take NotFound.",
        places: &[place(Guests, &["[grpc]   grpc-cancel -> 0"], &["[grpc]   grpc-cancel -> 1"])],
    },
    Deliberate {
        case: "stale gRPC tokens",
        reason: "Closing or cancelling what is no gRPC callout is NotFound: at BadArgument the Rust SDK panics, and takes every stream of its VM with it.",
        places: &[STALE, STALE, STALE],
    },
    Deliberate {
        case: "unusable GrpcService",
        reason: "It is refused like the name of a cluster that there is not, and that is all: Envoy refuses it and then tells the guest of the end of a token that it never gave, at which the Rust SDK panics.",
        places: &[place(
            Guests,
            &["[grpc]   grpc-call Say -> 10", "[grpc] grpc_close ctx=1 token=5 status=14"],
            &["[grpc]   grpc-call Say -> 4"],
        )],
    },
];
