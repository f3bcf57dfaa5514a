// Maintenance: while it is on, requests are answered 503 with a page for people, JSON for programs and a status for gRPC,
// except for those of operators and the paths that have to go on working.
//
// What of Proxy-Wasm it needs is in proxy_wasm.h: there is no SDK. The configuration is a text, a setting a line:
//
//   state on
//   retry-after 120
//   message We are back in two minutes.
//   allow-path /healthz
//   allow-header x-operator let-me-in

#include <charconv>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy_wasm.h"

namespace {

using proxy_wasm::Fields;
using proxy_wasm::Header;
using proxy_wasm::Map;
using std::string_literals::operator""s;

constexpr int32_t kUnavailable = 14;  // gRPC's UNAVAILABLE
constexpr int32_t kNoGrpcStatus = -1;

struct Settings {
  bool on = false;
  int retry_after = 60;  // seconds
  std::string message = "This service is being maintained.";
  std::vector<std::string> paths;
  std::vector<std::pair<std::string, std::string>> headers;
};

// One for all exchanges of the worker.
Settings settings;
uint32_t turned_away = 0;
uint32_t allowed = 0;

// Cuts the first word off a line.
std::string_view Word(std::string_view& line) {
  const size_t end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(std::min(line.find_first_not_of(' ', end), line.size()));
  return word;
}

// What is wrong with a line; empty for nothing.
std::string Read(std::string_view line, Settings& read) {
  const std::string_view name = Word(line);
  if (name == "state" && (line == "on" || line == "off")) {
    read.on = line == "on";
  } else if (name == "message" && !line.empty()) {
    read.message = line;
  } else if (name == "allow-path" && line.starts_with('/')) {
    read.paths.emplace_back(line);
  } else if (name == "allow-header" && !line.empty()) {
    const std::string header(Word(line));
    if (line.empty()) return "expected a name and a value after `allow-header`";
    read.headers.emplace_back(header, line);
  } else if (name == "retry-after") {
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), read.retry_after);
    const bool is_whole = error == std::errc() && end == line.data() + line.size();
    if (!is_whole || read.retry_after < 0) return "expected seconds after `retry-after`";
  } else {
    return "expected `state on`, `state off`, `retry-after SECONDS`, `message TEXT`, `allow-path /PATH` or "
           "`allow-header NAME VALUE`";
  }
  return "";
}

bool Configure(std::string_view text) {
  Settings read;
  for (int number = 1; !text.empty(); number++) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with('#')) continue;
    const std::string problem = Read(line, read);
    if (!problem.empty()) {
      proxy_wasm::Log(proxy_wasm::Level::kError, "line " + std::to_string(number) + ": " + problem);
      return false;
    }
  }
  settings = std::move(read);
  return true;
}

// A path is allowed with all that is below it.
bool IsAllowed(std::string_view path) {
  path = path.substr(0, path.find('?'));
  for (const std::string& allowed : settings.paths) {
    if (path == allowed || (path.starts_with(allowed) && (allowed.ends_with('/') || path[allowed.size()] == '/'))) {
      return true;
    }
  }
  for (const auto& [name, value] : settings.headers) {
    if (Header(Map::kRequestHeaders, name) == value) return true;
  }
  return false;
}

// The message as text of JSON or HTML: it is the operator's, and may have any sign in it.
std::string Escaped(std::string_view text, bool html) {
  std::string escaped;
  for (const char c : text) {
    const bool is_special = html ? c == '<' || c == '&' : c == '"' || c == '\\' || static_cast<unsigned char>(c) < ' ';
    if (!is_special) {
      escaped += c;
    } else if (html) {
      escaped += c == '<' ? "&lt;" : "&amp;";
    } else {
      constexpr std::string_view digits = "0123456789abcdef";
      escaped += "\\u00"s + digits[c >> 4] + digits[c & 15];
    }
  }
  return escaped;
}

void TurnAway() {
  const std::string accept = Header(Map::kRequestHeaders, "accept");
  const bool is_grpc = Header(Map::kRequestHeaders, "content-type").starts_with("application/grpc");
  std::string type = "text/plain; charset=utf-8", body = settings.message + "\n";
  if (is_grpc) {
    body = settings.message;
  } else if (accept.find("text/html") != std::string::npos) {
    type = "text/html; charset=utf-8";
    body = "<!doctype html><title>Maintenance</title><h1>" + Escaped(settings.message, true) + "</h1>\n";
  } else if (accept.find("json") != std::string::npos) {
    type = "application/json";
    body = "{\"error\": \"maintenance\", \"message\": \"" + Escaped(settings.message, false) + "\"}\n";
  }
  const Fields fields = {
      {"retry-after", std::to_string(settings.retry_after)}, {"cache-control", "no-store"}, {"content-type", type}};
  proxy_wasm::Reply(503, "maintenance", body, fields, is_grpc ? kUnavailable : kNoGrpcStatus);
}

}  // namespace

CALLBACK(proxy_abi_version_0_2_1) void proxy_abi_version_0_2_1() {}

CALLBACK(proxy_on_configure) uint32_t proxy_on_configure(uint32_t, uint32_t) {
  turned_away = proxy_wasm::DefineCounter("maintenance_requests{outcome=\"turned_away\"}");
  allowed = proxy_wasm::DefineCounter("maintenance_requests{outcome=\"allowed\"}");
  return Configure(proxy_wasm::Configuration());
}

CALLBACK(proxy_on_request_headers) int32_t proxy_on_request_headers(uint32_t, uint32_t, uint32_t) {
  if (!settings.on) return proxy_wasm::kContinue;
  if (IsAllowed(Header(Map::kRequestHeaders, ":path"))) {
    proxy_wasm::Increment(allowed);
    return proxy_wasm::kContinue;
  }
  proxy_wasm::Increment(turned_away);
  TurnAway();
  return proxy_wasm::kPause;
}
