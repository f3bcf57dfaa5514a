// What of Proxy-Wasm (ABI 0.2.1) the filter needs, in the words of C++.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// A function that the host calls, and one that it has.
#define CALLBACK(name) extern "C" __attribute__((export_name(#name)))
#define HOST(name) extern "C" __attribute__((import_module("env"), import_name(#name)))

HOST(proxy_log) int32_t proxy_log(uint32_t level, const char* text, size_t size);
HOST(proxy_define_metric)
int32_t proxy_define_metric(uint32_t kind, const char* name, size_t size, uint32_t* metric);
HOST(proxy_increment_metric) int32_t proxy_increment_metric(uint32_t metric, int64_t by);
HOST(proxy_get_buffer_bytes)
int32_t proxy_get_buffer_bytes(uint32_t buffer, size_t start, size_t length, char** bytes, size_t* size);
HOST(proxy_get_header_map_value)
int32_t proxy_get_header_map_value(uint32_t map, const char* name, size_t name_size, char** value, size_t* size);
HOST(proxy_send_local_response)
int32_t proxy_send_local_response(uint32_t status, const char* details, size_t details_size, const char* body,
                                  size_t body_size, const char* pairs, size_t pairs_size, int32_t grpc_status);

namespace proxy_wasm {

constexpr int32_t kOk = 0;
constexpr int32_t kContinue = 0;
constexpr int32_t kPause = 1;

enum class Level : uint32_t { kInfo = 2, kWarn = 3, kError = 4 };
enum class Map : uint32_t { kRequestHeaders = 0 };

using Fields = std::vector<std::pair<std::string, std::string>>;

inline void Log(Level level, std::string_view text) {
  proxy_log(static_cast<uint32_t>(level), text.data(), text.size());
}

// Takes what a function of the host has written into a block of `malloc`, which is the module's to free.
inline std::string Taken(int32_t status, char* bytes, size_t size) {
  if (status != kOk || size == 0) return "";
  const std::unique_ptr<char, decltype(&free)> block(bytes, &free);
  return {block.get(), size};
}

// A field's first value; empty where there is none.
inline std::string Header(Map map, std::string_view name) {
  char* bytes = nullptr;
  size_t size = 0;
  const auto number = static_cast<uint32_t>(map);
  const int32_t status = proxy_get_header_map_value(number, name.data(), name.size(), &bytes, &size);
  return Taken(status, bytes, size);
}

inline std::string Configuration() {
  constexpr uint32_t kPluginConfiguration = 7;
  char* bytes = nullptr;
  size_t size = 0;
  const int32_t status = proxy_get_buffer_bytes(kPluginConfiguration, 0, SIZE_MAX, &bytes, &size);
  return Taken(status, bytes, size);
}

// The ABI knows no labels: tidegate reads those that are in the name.
inline uint32_t DefineCounter(std::string_view name) {
  constexpr uint32_t kCounter = 0;
  uint32_t metric = 0;
  proxy_define_metric(kCounter, name.data(), name.size(), &metric);
  return metric;
}

inline void Increment(uint32_t metric) { proxy_increment_metric(metric, 1); }

// How many fields there are; the sizes of each; then names and values, each with a zero behind it.
inline std::string Serialized(const Fields& fields) {
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

inline void Reply(uint32_t status, std::string_view details, std::string_view body, const Fields& fields,
                  int32_t grpc_status) {
  const std::string pairs = Serialized(fields);
  proxy_send_local_response(status, details.data(), details.size(), body.data(), body.size(), pairs.data(),
                            pairs.size(), grpc_status);
}

}  // namespace proxy_wasm
