// What of Proxy-Wasm the tour needs, for C and C++: the functions that the host has, and the numbers that they take.
#ifndef TOUR_ABI_H
#define TOUR_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define EXTERN_C extern "C"
#else
#define EXTERN_C
#endif

// A function of the host, in the module `env`, where a filter's functions all are.
#define HOST(name) EXTERN_C __attribute__((import_module("env"), import_name(#name))) int32_t name
// A function that the host calls.
#define CALLBACK(name) EXTERN_C __attribute__((export_name(#name)))

enum { OK = 0 };
enum { LOG_INFO = 2, LOG_ERROR = 4 };
enum { CONTINUE = 0, PAUSE = 1 };
enum { REQUEST = 0 };
enum { COUNTER = 0, GAUGE = 1 };
enum { REQUEST_HEADERS = 0, RESPONSE_HEADERS = 2, CALLOUT_HEADERS = 6 };
enum { REQUEST_BODY = 0, RESPONSE_BODY = 1, CALLOUT_BODY = 4, CONFIGURATION = 7 };
enum { NO_GRPC_STATUS = -1 };

HOST(proxy_log)(uint32_t level, const char *text, size_t size);
HOST(proxy_set_tick_period_milliseconds)(uint32_t period);
HOST(proxy_set_effective_context)(uint32_t context);
HOST(proxy_continue_stream)(uint32_t stream);
HOST(proxy_define_metric)(uint32_t type, const char *name, size_t size, uint32_t *metric);
HOST(proxy_increment_metric)(uint32_t metric, int64_t by);
HOST(proxy_get_metric)(uint32_t metric, uint64_t *value);
HOST(proxy_get_buffer_bytes)(uint32_t buffer, size_t start, size_t length, char **bytes, size_t *size);
HOST(proxy_set_buffer_bytes)(uint32_t buffer, size_t start, size_t length, const char *bytes, size_t size);
HOST(proxy_get_header_map_pairs)(uint32_t map, char **pairs, size_t *size);
HOST(proxy_get_header_map_value)(uint32_t map, const char *name, size_t name_size, char **value, size_t *size);
HOST(proxy_add_header_map_value)(uint32_t map, const char *name, size_t name_size, const char *value, size_t size);
HOST(proxy_replace_header_map_value)(uint32_t map, const char *name, size_t name_size, const char *value, size_t size);
HOST(proxy_remove_header_map_value)(uint32_t map, const char *name, size_t name_size);
HOST(proxy_send_local_response)(uint32_t status, const char *details, size_t details_size, const char *body,
                                size_t body_size, const char *pairs, size_t pairs_size, int32_t grpc_status);
HOST(proxy_http_call)(const char *cluster, size_t cluster_size, const char *pairs, size_t pairs_size,
                      const char *body, size_t body_size, const char *trailers, size_t trailers_size,
                      uint32_t timeout_milliseconds, uint32_t *token);

#endif
