//! Every byte string of a step, to be changed in its place.

use crate::wasm::witness::{Beginning, Blob, Callout, Change, End, Fields, Grpc, Op, Piece, Step, Value};

/// Something with byte strings in it.
pub trait Visit {
    /// Calls `each` with every one.
    fn visit(&mut self, each: &mut dyn FnMut(&mut Blob));
}

impl Visit for Beginning {
    fn visit(&mut self, each: &mut dyn FnMut(&mut Blob)) {
        each(&mut self.config);
        each(&mut self.vm_config);
        self.env.iter_mut().for_each(|(_, value)| each(value));
    }
}

impl Visit for Step {
    fn visit(&mut self, each: &mut dyn FnMut(&mut Blob)) {
        self.op.visit(each);
        for stream in &mut self.streams {
            stream.before.visit(each);
            stream.after.visit(each);
        }
        for call in &mut self.calls {
            for hostcall in &mut call.hostcalls {
                hostcall.args.iter_mut().chain(&mut hostcall.answer).for_each(|value| value.visit(each));
            }
            call.logs.iter_mut().for_each(|line| each(&mut line.text));
        }
        if let End::Fault { message, .. } = &mut self.end {
            visit_text(message, each);
        }
    }
}

impl Step {
    /// Calls `each` with every list of names and values.
    pub(super) fn visit_fields(&mut self, each: &mut dyn FnMut(&mut Fields)) {
        match &mut self.op {
            Op::HttpCallResponse { result: Callout::Response { headers, trailers, .. }, .. } => {
                each(headers);
                trailers.iter_mut().for_each(&mut *each);
            }
            Op::Grpc { event: Grpc::InitialMetadata { metadata, .. }, .. }
            | Op::Grpc { event: Grpc::TrailingMetadata { metadata, .. }, .. } => each(metadata),
            _ => {}
        }
        let changes = self.streams.iter_mut().flat_map(|stream| [&mut stream.before, &mut stream.after]);
        changes.for_each(|change| change.visit_fields(each));
        for hostcall in self.calls.iter_mut().flat_map(|call| &mut call.hostcalls) {
            for value in hostcall.args.iter_mut().chain(&mut hostcall.answer) {
                if let Value::Fields(fields) = value {
                    each(fields);
                }
            }
        }
    }
}

impl Change {
    fn visit_fields(&mut self, each: &mut dyn FnMut(&mut Fields)) {
        let heads = [
            self.request.as_mut().map(|head| &mut head.headers),
            self.response.as_mut().map(|head| &mut head.headers),
            self.staged_response_headers.as_mut(),
            self.request_trailers.as_mut(),
            self.response_trailers.as_mut(),
        ];
        heads.into_iter().flatten().for_each(&mut *each);
        each(&mut self.properties);
    }
}

impl Visit for Change {
    fn visit(&mut self, each: &mut dyn FnMut(&mut Blob)) {
        if let Some(request) = &mut self.request {
            each(&mut request.path);
        }
        self.visit_fields(&mut |fields| visit_values(fields, each));
        for piece in [&mut self.request_body, &mut self.response_body].into_iter().flatten() {
            match piece {
                Piece::Added(blob) | Piece::Whole(blob) => each(blob),
            }
        }
        if let Some(details) = self.info.as_mut().and_then(|info| info.code_details.as_mut()) {
            visit_text(details, each);
        }
    }
}

impl Visit for Op {
    fn visit(&mut self, each: &mut dyn FnMut(&mut Blob)) {
        match self {
            Op::HttpCallResponse { result: Callout::Response { headers, body, trailers, .. }, .. } => {
                visit_values(headers, each);
                each(body);
                trailers.iter_mut().for_each(|fields| visit_values(fields, each));
            }
            Op::Grpc { event, .. } => match event {
                Grpc::InitialMetadata { metadata, .. } | Grpc::TrailingMetadata { metadata, .. } => {
                    visit_values(metadata, each);
                }
                Grpc::Message(message) => each(message),
                Grpc::Close { message, .. } => visit_text(message, each),
            },
            Op::ForeignFunction { arguments, .. } => each(arguments),
            _ => {}
        }
    }
}

impl Visit for Value {
    fn visit(&mut self, each: &mut dyn FnMut(&mut Blob)) {
        match self {
            Value::Number(_) => {}
            Value::Bytes(blob) => each(blob),
            Value::Fields(fields) => visit_values(fields, each),
        }
    }
}

fn visit_text(text: &mut String, each: &mut dyn FnMut(&mut Blob)) {
    let mut blob = Blob::from(text.as_str());
    each(&mut blob);
    if blob.0 != text.as_bytes() {
        *text = blob.text().into_owned();
    }
}

fn visit_values(fields: &mut Fields, each: &mut dyn FnMut(&mut Blob)) {
    fields.iter_mut().for_each(|(_, value)| each(value));
}
