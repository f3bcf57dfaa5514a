// Security headers: what a browser is to be told with every response, and what nobody is to be told.
//
// The configuration is a text, a header a line:
//
//   x-content-type-options: nosniff              set, whatever the service says
//   ?content-security-policy: default-src 'self' set where the service says nothing
//   https strict-transport-security: max-age=31536000
//   -server                                      removed
//
// `https` in front of a line is for requests that came so, as the proxy or x-forwarded-proto says.

export * from "@gcoredev/proxy-wasm-sdk-as/assembly/proxy";

import {
  BufferTypeValues,
  Context,
  Counter,
  FilterHeadersStatusValues,
  LogLevelValues,
  RootContext,
  get_buffer_bytes,
  registerRootContext,
  stream_context,
} from "@gcoredev/proxy-wasm-sdk-as/assembly";
import { proxy_log } from "@gcoredev/proxy-wasm-sdk-as/assembly/imports";

// The SDK's own `log` writes to standard output, so that every line has level info.
function say(level: LogLevelValues, text: string): void {
  const line = String.UTF8.encode(text);
  proxy_log(level, changetype<usize>(line), line.byteLength);
}

enum Kind {
  Set,
  SetIfAbsent,
  Remove,
}

class Rule {
  constructor(
    public kind: Kind,
    public name: string,
    public value: string,
    public onlyHttps: bool,
  ) {}
}

// A name is small letters, digits and dashes: others are mistakes.
function isName(name: string): bool {
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    if (!((c >= 97 && c <= 122) || (c >= 48 && c <= 57) || c == 45)) return false;
  }
  return name.length > 0;
}

// Nothing where the line is none of these.
function read(text: string): Rule | null {
  let line = text;
  const onlyHttps = line.startsWith("https ");
  if (onlyHttps) line = line.substring(6).trim();
  if (line.startsWith("-")) {
    const name = line.substring(1).trim();
    return isName(name) ? new Rule(Kind.Remove, name, "", onlyHttps) : null;
  }
  const kind = line.startsWith("?") ? Kind.SetIfAbsent : Kind.Set;
  if (kind == Kind.SetIfAbsent) line = line.substring(1);
  const colon = line.indexOf(":");
  if (colon < 0) return null;
  const name = line.substring(0, colon).trim();
  const value = line.substring(colon + 1).trim();
  return isName(name) && value != "" ? new Rule(kind, name, value, onlyHttps) : null;
}

class Root extends RootContext {
  rules: Rule[] = [];
  needsScheme: bool = false;
  changed!: Counter;

  createContext(context: u32): Context {
    return new Exchange(context, this);
  }

  onConfigure(size: u32): bool {
    this.changed = new Counter("security_headers_responses");
    const text = String.UTF8.decode(get_buffer_bytes(BufferTypeValues.PluginConfiguration, 0, u32.MAX_VALUE));
    const lines = text.split("\n");
    for (let i = 0; i < lines.length; i++) {
      const line = lines[i].trim();
      if (line == "" || line.startsWith("#")) continue;
      const rule = read(line);
      if (rule == null) {
        const expected = "expected `name: value`, `?name: value` or `-name`, perhaps with `https ` in front";
        say(LogLevelValues.error, `line ${i + 1}: ${expected}`);
        return false;
      }
      this.rules.push(rule);
      if (rule.onlyHttps) this.needsScheme = true;
    }
    return true;
  }
}

class Exchange extends Context {
  isHttps: bool = false;

  constructor(
    context: u32,
    public root: Root,
  ) {
    super(context, root);
  }

  onRequestHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    if (this.root.needsScheme) {
      const headers = stream_context.headers.request;
      this.isHttps = headers.get(":scheme") == "https" || headers.get("x-forwarded-proto") == "https";
    }
    return FilterHeadersStatusValues.Continue;
  }

  onResponseHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    const headers = stream_context.headers.response;
    for (let i = 0; i < this.root.rules.length; i++) {
      const rule = this.root.rules[i];
      if (rule.onlyHttps && !this.isHttps) continue;
      if (rule.kind == Kind.Remove) {
        headers.remove(rule.name);
      } else if (rule.kind == Kind.Set || headers.get(rule.name) == "") {
        headers.replace(rule.name, rule.value);
      }
    }
    this.root.changed.increment(1);
    return FilterHeadersStatusValues.Continue;
  }
}

registerRootContext((context: u32) => new Root(context), "security-headers");
