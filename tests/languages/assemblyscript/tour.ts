// The tour in AssemblyScript, with the SDK of ABI 0.2.1: see ../README.md.

export * from "@gcoredev/proxy-wasm-sdk-as/assembly/proxy";

import {
  BufferTypeValues,
  Context,
  Counter,
  FilterDataStatusValues,
  FilterHeadersStatusValues,
  Gauge,
  LogLevelValues,
  RootContext,
  WasmResultValues,
  continue_request,
  get_buffer_bytes,
  makeHeaderPair,
  proxy_set_effective_context,
  registerRootContext,
  send_http_response,
  set_buffer_bytes,
  set_tick_period_milliseconds,
  stream_context,
} from "@gcoredev/proxy-wasm-sdk-as/assembly";
import { proxy_get_metric, proxy_log } from "@gcoredev/proxy-wasm-sdk-as/assembly/imports";

const TIMEOUT_MS = 5000;
const EVERYTHING = u32.MAX_VALUE;

// The SDK's own `log` writes to standard output, with the level in front.
function say(text: string, level: LogLevelValues = LogLevelValues.info): void {
  const line = String.UTF8.encode("[tour] " + text);
  proxy_log(level, changetype<usize>(line), line.byteLength);
}

function read(buffer: BufferTypeValues): string {
  return String.UTF8.decode(get_buffer_bytes(buffer, 0, EVERYTHING));
}

const counted = memory.data(8);

// The SDK's `get_metric` sets it instead.
function valueOf(metric: u32): u64 {
  return proxy_get_metric(metric, counted) == WasmResultValues.Ok ? load<u64>(counted) : 0;
}

class Root extends RootContext {
  configuration: string = "";
  requests!: Counter;
  ticks!: Gauge;
  // Which exchange waits for a tick; 0 for none.
  later: u32 = 0;

  createContext(context: u32): Context {
    return new Exchange(context, this);
  }

  onStart(size: usize): bool {
    process.stdout.write("[tour] printed\n");
    return true;
  }

  onConfigure(size: u32): bool {
    this.configuration = read(BufferTypeValues.PluginConfiguration);
    if (this.configuration == "") {
      say("there is no configuration", LogLevelValues.error);
      return false;
    }
    say("configured with " + this.configuration);
    this.requests = new Counter("tour_requests");
    this.ticks = new Gauge("tour_ticks");
    return true;
  }

  onTick(): void {
    this.ticks.increment(1);
    set_tick_period_milliseconds(0);
    if (proxy_set_effective_context(this.later) != WasmResultValues.Ok) return; // the client has left
    stream_context.headers.request.replace("x-ticks", valueOf(this.ticks.metric_id).toString());
    continue_request();
  }
}

class Exchange extends Context {
  constructor(context: u32, public root: Root) {
    super(context, root);
  }

  onRequestHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    const headers = stream_context.headers.request;
    const path = headers.get(":path");
    say("request_headers " + path);
    this.root.requests.increment(1);
    if (path == "/denied") {
      const body = String.UTF8.encode("denied by " + this.root.configuration + "\n");
      send_http_response(403, "tour_denied", body, [makeHeaderPair("x-tour", "denied")]);
      return FilterHeadersStatusValues.StopIteration;
    }
    headers.replace("x-out", this.root.configuration + "(" + headers.get("x-in") + ")");
    headers.add("x-many", "c");
    const pairs = headers.get_headers();
    const many: string[] = [];
    for (let i = 0; i < pairs.length; i++) {
      if (String.UTF8.decode(pairs[i].key) == "x-many") many.push(String.UTF8.decode(pairs[i].value));
    }
    headers.replace("x-pairs", many.join("|"));
    headers.remove("x-remove");
    headers.remove("content-length");
    if (path == "/asked") return this.ask();
    return path == "/later" ? this.wait() : FilterHeadersStatusValues.Continue;
  }

  wait(): FilterHeadersStatusValues {
    this.root.later = this.context_id;
    set_tick_period_milliseconds(1);
    return FilterHeadersStatusValues.StopIteration;
  }

  ask(): FilterHeadersStatusValues {
    const fields = [
      makeHeaderPair(":method", "POST"),
      makeHeaderPair(":path", "/question"),
      makeHeaderPair(":authority", "asked.test"),
      makeHeaderPair("x-tour", "asks"),
    ];
    const question = String.UTF8.encode("question");
    const result = this.root.httpCall("up", fields, question, [], TIMEOUT_MS, this, (context, count, size, trailers) => {
      const answer = stream_context.headers.http_callback;
      const body = read(BufferTypeValues.HttpCallResponseBody);
      if (proxy_set_effective_context(context.context_id) != WasmResultValues.Ok) return; // the client has left
      stream_context.headers.request.replace("x-answer", answer.get(":status") + " " + answer.get("x-by") + " " + body);
      continue_request();
    });
    return result == WasmResultValues.Ok
      ? FilterHeadersStatusValues.StopIteration
      : FilterHeadersStatusValues.Continue;
  }

  onRequestBody(size: usize, end: bool): FilterDataStatusValues {
    if (!end) return FilterDataStatusValues.StopIterationAndBuffer;
    const changed = this.root.configuration + ": " + read(BufferTypeValues.HttpRequestBody).toUpperCase();
    set_buffer_bytes(BufferTypeValues.HttpRequestBody, 0, <u32>size, String.UTF8.encode(changed));
    return FilterDataStatusValues.Continue;
  }

  onResponseHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    const headers = stream_context.headers.response;
    headers.replace("x-status", headers.get(":status"));
    headers.remove("x-internal");
    headers.remove("content-length");
    return FilterHeadersStatusValues.Continue;
  }

  onResponseBody(size: usize, end: bool): FilterDataStatusValues {
    if (!end) return FilterDataStatusValues.StopIterationAndBuffer;
    const more = String.UTF8.encode(" and " + this.root.configuration);
    set_buffer_bytes(BufferTypeValues.HttpResponseBody, <u32>size, 0, more);
    return FilterDataStatusValues.Continue;
  }

  onLog(): void {
    const status = stream_context.headers.response.get(":status");
    say("log " + status + " requests=" + valueOf(this.root.requests.metric_id).toString());
  }
}

registerRootContext((context: u32) => {
  say("context_create ctx=" + context.toString() + " parent=0");
  return new Root(context);
}, "tour");
