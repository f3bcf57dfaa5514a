// The tour in C++, without an SDK: see ../README.md. Like filters that Emscripten built it exports `malloc`, declares
// ABI 0.2.0 and wants two functions of that compiler's runtime from its host.

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../c/abi.h"

EXTERN_C __attribute__((import_module("env"), import_name("emscripten_notify_memory_growth"))) void
emscripten_notify_memory_growth(uint32_t memory);
// By another name here: the library of C has one too.
EXTERN_C __attribute__((import_module("env"), import_name("pthread_equal"))) int32_t host_pthread_equal(uint32_t a,
                                                                                                        uint32_t b);

namespace {

using namespace std::string_literals;

constexpr uint32_t kTimeoutMs = 5000;

void Say(const std::string& text) {
  const std::string line = "[tour] " + text;
  proxy_log(LOG_INFO, line.data(), line.size());
}

// Takes what a function of the host has written into a block of `malloc`.
std::string Taken(int32_t status, char* bytes, size_t size) {
  if (status != OK || size == 0) return "";
  const std::unique_ptr<char, decltype(&free)> block(bytes, &free);
  return {block.get(), size};
}

std::string Header(uint32_t map, std::string_view name) {
  char* bytes = nullptr;
  size_t size = 0;
  const int32_t status = proxy_get_header_map_value(map, name.data(), name.size(), &bytes, &size);
  return Taken(status, bytes, size);
}

void SetHeader(uint32_t map, std::string_view name, std::string_view value) {
  proxy_replace_header_map_value(map, name.data(), name.size(), value.data(), value.size());
}

void RemoveHeader(uint32_t map, std::string_view name) { proxy_remove_header_map_value(map, name.data(), name.size()); }

std::string Buffer(uint32_t which) {
  char* bytes = nullptr;
  size_t size = 0;
  const int32_t status = proxy_get_buffer_bytes(which, 0, SIZE_MAX, &bytes, &size);
  return Taken(status, bytes, size);
}

using Fields = std::vector<std::pair<std::string, std::string>>;

// How many there are; the sizes of each; then names and values, each with a zero behind it.
Fields Pairs(uint32_t map) {
  char* bytes = nullptr;
  size_t size = 0;
  const int32_t status = proxy_get_header_map_pairs(map, &bytes, &size);
  const std::string pairs = Taken(status, bytes, size);
  const auto number = [&](size_t at) {
    uint32_t number = 0;
    memcpy(&number, pairs.data() + at, sizeof number);
    return number;
  };
  Fields fields(pairs.empty() ? 0 : number(0));
  size_t at = 4 + 8 * fields.size();
  const auto part = [&](uint32_t size) {
    std::string part = pairs.substr(at, size);
    at += size + 1;
    return part;
  };
  for (size_t i = 0; i < fields.size(); i++) {
    fields[i].first = part(number(4 + 8 * i));
    fields[i].second = part(number(8 + 8 * i));
  }
  return fields;
}

std::string Serialized(const Fields& fields) {
  std::string sizes, parts;
  const auto number = [&](uint32_t number) { sizes.append(reinterpret_cast<const char*>(&number), sizeof number); };
  number(fields.size());
  for (const auto& [name, value] : fields) {
    number(name.size());
    number(value.size());
    parts += name + '\0' + value + '\0';
  }
  return sizes + parts;
}

class Root {
 public:
  bool Configure();
  void Tick();
  int32_t Ask(uint32_t context);
  int32_t Wait(uint32_t context);
  void Answered(uint32_t token);

  std::string configuration;
  uint32_t requests = 0;

 private:
  uint32_t ticks_ = 0;
  // Which exchange waits for which answer: an answer comes to the root.
  std::unordered_map<uint32_t, uint32_t> waiting_;
  // Which exchange waits for a tick; 0 for none.
  uint32_t later_ = 0;
};

// Made by a constructor that runs before any callback: `_initialize` calls it.
Root root;

bool Root::Configure() {
  configuration = Buffer(CONFIGURATION);
  if (configuration.empty()) {
    constexpr std::string_view why = "[tour] there is no configuration";
    proxy_log(LOG_ERROR, why.data(), why.size());
    return false;
  }
  Say("configured with " + configuration);
  constexpr std::string_view requests_name = "tour_requests", ticks_name = "tour_ticks";
  proxy_define_metric(COUNTER, requests_name.data(), requests_name.size(), &requests);
  proxy_define_metric(GAUGE, ticks_name.data(), ticks_name.size(), &ticks_);
  return true;
}

void Root::Tick() {
  uint64_t count = 0;
  proxy_increment_metric(ticks_, 1);
  proxy_get_metric(ticks_, &count);
  proxy_set_tick_period_milliseconds(0);
  if (proxy_set_effective_context(later_) != OK) return;  // the client has left
  SetHeader(REQUEST_HEADERS, "x-ticks", std::to_string(count));
  proxy_continue_stream(REQUEST);
}

int32_t Root::Wait(uint32_t context) {
  later_ = context;
  proxy_set_tick_period_milliseconds(1);
  return PAUSE;
}

int32_t Root::Ask(uint32_t context) {
  const std::string fields = Serialized(
      {{":method", "POST"}, {":path", "/question"}, {":authority", "asked.test"}, {"x-tour", "asks"}});
  constexpr std::string_view cluster = "up", question = "question";
  uint32_t token = 0;
  const int32_t status = proxy_http_call(cluster.data(), cluster.size(), fields.data(), fields.size(), question.data(),
                                         question.size(), nullptr, 0, kTimeoutMs, &token);
  if (status != OK) return CONTINUE;
  waiting_[token] = context;
  return PAUSE;
}

void Root::Answered(uint32_t token) {
  const auto entry = waiting_.extract(token);
  if (entry.empty()) return;
  const std::string answer =
      Header(CALLOUT_HEADERS, ":status") + " " + Header(CALLOUT_HEADERS, "x-by") + " " + Buffer(CALLOUT_BODY);
  if (proxy_set_effective_context(entry.mapped()) != OK) return;  // the client has left
  SetHeader(REQUEST_HEADERS, "x-answer", answer);
  proxy_continue_stream(REQUEST);
}

int32_t Deny() {
  const std::string body = "denied by " + root.configuration + "\n", fields = Serialized({{"x-tour", "denied"}});
  constexpr std::string_view details = "tour_denied";
  proxy_send_local_response(403, details.data(), details.size(), body.data(), body.size(), fields.data(), fields.size(),
                            NO_GRPC_STATUS);
  return PAUSE;
}

}  // namespace

CALLBACK(proxy_abi_version_0_2_0) void proxy_abi_version_0_2_0() {}

CALLBACK(proxy_on_context_create) void proxy_on_context_create(uint32_t context, uint32_t parent) {
  if (parent == 0) Say("context_create ctx=" + std::to_string(context) + " parent=0");
}

CALLBACK(proxy_on_vm_start) int32_t proxy_on_vm_start(uint32_t, size_t) {
  // What code of Emscripten's own asks of its host.
  emscripten_notify_memory_growth(0);
  if (!host_pthread_equal(1, 1) || host_pthread_equal(1, 2)) return false;
  puts("[tour] printed");
  fflush(stdout);  // it is no terminal, so lines would be kept
  return true;
}

CALLBACK(proxy_on_configure) int32_t proxy_on_configure(uint32_t, size_t) { return root.Configure(); }

CALLBACK(proxy_on_tick) void proxy_on_tick(uint32_t) { root.Tick(); }

CALLBACK(proxy_on_request_headers) int32_t proxy_on_request_headers(uint32_t context, uint32_t, uint32_t) {
  const std::string path = Header(REQUEST_HEADERS, ":path");
  Say("request_headers " + path);
  proxy_increment_metric(root.requests, 1);
  if (path == "/denied") return Deny();

  SetHeader(REQUEST_HEADERS, "x-out", root.configuration + "(" + Header(REQUEST_HEADERS, "x-in") + ")");
  proxy_add_header_map_value(REQUEST_HEADERS, "x-many", strlen("x-many"), "c", 1);
  std::string many;
  for (const auto& [name, value] : Pairs(REQUEST_HEADERS)) {
    if (name == "x-many") many += (many.empty() ? "" : "|") + value;
  }
  SetHeader(REQUEST_HEADERS, "x-pairs", many);
  RemoveHeader(REQUEST_HEADERS, "x-remove");
  RemoveHeader(REQUEST_HEADERS, "content-length");
  if (path == "/asked") return root.Ask(context);
  return path == "/later" ? root.Wait(context) : CONTINUE;
}

CALLBACK(proxy_on_http_call_response)
void proxy_on_http_call_response(uint32_t, uint32_t token, uint32_t, uint32_t, uint32_t) { root.Answered(token); }

CALLBACK(proxy_on_request_body) int32_t proxy_on_request_body(uint32_t, size_t size, uint32_t end) {
  if (!end) return PAUSE;
  std::string body = Buffer(REQUEST_BODY);
  std::transform(body.begin(), body.end(), body.begin(), [](unsigned char c) { return std::toupper(c); });
  const std::string changed = root.configuration + ": " + body;
  proxy_set_buffer_bytes(REQUEST_BODY, 0, size, changed.data(), changed.size());
  return CONTINUE;
}

CALLBACK(proxy_on_response_headers) int32_t proxy_on_response_headers(uint32_t, uint32_t, uint32_t) {
  SetHeader(RESPONSE_HEADERS, "x-status", Header(RESPONSE_HEADERS, ":status"));
  RemoveHeader(RESPONSE_HEADERS, "x-internal");
  RemoveHeader(RESPONSE_HEADERS, "content-length");
  return CONTINUE;
}

CALLBACK(proxy_on_response_body) int32_t proxy_on_response_body(uint32_t, size_t size, uint32_t end) {
  if (!end) return PAUSE;
  const std::string more = " and " + root.configuration;
  proxy_set_buffer_bytes(RESPONSE_BODY, size, 0, more.data(), more.size());
  return CONTINUE;
}

CALLBACK(proxy_on_log) void proxy_on_log(uint32_t) {
  uint64_t count = 0;
  proxy_get_metric(root.requests, &count);
  Say("log " + Header(RESPONSE_HEADERS, ":status") + " requests=" + std::to_string(count));
}
