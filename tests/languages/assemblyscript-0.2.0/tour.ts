// The tour in AssemblyScript, with the SDK of ABI 0.2.0: see ../README.md.

export * from "@solo-io/proxy-runtime/proxy";

import {
  BufferTypeValues,
  Context,
  Counter,
  FilterDataStatusValues,
  FilterHeadersStatusValues,
  Gauge,
  GrpcStatusValues,
  HeaderPair,
  Headers,
  LogLevelValues,
  RootContext,
  WasmResultValues,
  continue_request,
  get_buffer_bytes,
  log,
  proxy_set_effective_context,
  registerRootContext,
  send_local_response,
  set_tick_period_milliseconds,
  stream_context,
} from "@solo-io/proxy-runtime/runtime";
import { proxy_get_metric } from "@solo-io/proxy-runtime/imports";
import { fd_write } from "bindings/wasi_unstable";

const TIMEOUT_MS: u32 = 5000;
const EVERYTHING = u32.MAX_VALUE;

// The SDK declares no function that changes a body.
// @ts-ignore: decorator
@external("env", "proxy_set_buffer_bytes")
declare function proxy_set_buffer_bytes(buffer: u32, start: u32, length: u32, bytes: usize, size: usize): u32;

function say(text: string): void {
  log(LogLevelValues.info, "[tour] " + text);
}

function print(text: string): void {
  const bytes = String.UTF8.encode(text);
  // One piece: its address and its size; behind them is room for how much was written.
  const piece = new Uint32Array(3);
  piece[0] = <u32>changetype<usize>(bytes);
  piece[1] = bytes.byteLength;
  fd_write(1, piece.dataStart, 1, piece.dataStart + 8);
}

function read(buffer: BufferTypeValues): string {
  return String.UTF8.decode(get_buffer_bytes(buffer, 0, EVERYTHING));
}

function write(buffer: BufferTypeValues, start: u32, length: u32, text: string): void {
  const bytes = String.UTF8.encode(text);
  proxy_set_buffer_bytes(buffer, start, length, changetype<usize>(bytes), bytes.byteLength);
}

// The SDK's `get_metric` sets it instead.
function valueOf(metric: u32): u64 {
  const value = new Uint64Array(1);
  proxy_get_metric(metric, value.dataStart);
  return value[0];
}

function pair(name: string, value: string): HeaderPair {
  return new HeaderPair(String.UTF8.encode(name), String.UTF8.encode(value));
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
    print("[tour] printed\n");
    return true;
  }

  // The SDK's own hands the size over as an address.
  onConfigure(size: u32): bool {
    this.configuration = read(BufferTypeValues.PluginConfiguration);
    if (this.configuration == "") {
      log(LogLevelValues.error, "[tour] there is no configuration");
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
  root: Root;

  constructor(context: u32, root: Root) {
    super(context, root);
    this.root = root;
  }

  onRequestHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    const headers = stream_context.headers.request;
    const path = headers.get(":path");
    say("request_headers " + path);
    this.root.requests.increment(1);
    if (path == "/denied") {
      const body = String.UTF8.encode("denied by " + this.root.configuration + "\n");
      send_local_response(403, "tour_denied", body, [pair("x-tour", "denied")], GrpcStatusValues.InvalidCode);
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
    const fields: Headers = [
      pair(":method", "POST"),
      pair(":path", "/question"),
      pair(":authority", "asked.test"),
      pair("x-tour", "asks"),
    ];
    const question = String.UTF8.encode("question");
    // What is called back has set the effective context.
    const result = this.root.httpCall("up", fields, question, [], TIMEOUT_MS, this, (context, count, size, trailers) => {
      const answer = stream_context.headers.http_callback;
      const body = read(BufferTypeValues.HttpCallResponseBody);
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
    write(BufferTypeValues.HttpRequestBody, 0, <u32>size, changed);
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
    write(BufferTypeValues.HttpResponseBody, <u32>size, 0, " and " + this.root.configuration);
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
