//! What is wrong with the settings by their types, at its place in the file that somebody wrote: what is served is another file.

use std::rc::Rc;

use crate::config::Size;
use crate::config::collector::Collector;
use crate::config::decode::decode;
use crate::config::raw::{Cluster, Filter};
use crate::config::scalar::Text;
use crate::config::yaml::{Entry, Node, Scalar, Value};

/// Records unknown fields and values of another type. Whether values go together is found out when they are served.
pub(super) fn examine(root: &Node, log: &Collector<'_>) {
    let Value::Mapping(fields) = &root.value else { return };
    let entry = |key, value: &Rc<Node>| Entry { key, value: value.clone() };
    let own = ["clusters", "buffer_limit"];
    let of_filter = fields.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let mut of_filter: indexmap::IndexMap<_, _> =
        of_filter.map(|(name, field)| (name.clone(), entry(field.key, &field.value))).collect();
    // The one field that a filter has to have, and that is not for here.
    let module =
        Rc::new(Node { span: root.span, value: Value::Scalar(Scalar::Text("./filter.wasm".to_owned())) });
    of_filter.entry("module".to_owned()).or_insert(Entry { key: root.span, value: module });
    let filter = Node { span: root.span, value: Value::Mapping(of_filter) };
    let _ = decode::<Filter>(&filter, log);
    if let Some(limit) = fields.get("buffer_limit") {
        let _ = decode::<Text<Size>>(&limit.value, log);
    }
    let clusters = match fields.get("clusters").map(|clusters| &clusters.value.value) {
        Some(Value::Mapping(clusters)) => clusters,
        _ => return,
    };
    for cluster in clusters.values().filter(|cluster| matches!(cluster.value.value, Value::Mapping(_))) {
        let _ = decode::<Cluster>(&cluster.value, log);
    }
}
