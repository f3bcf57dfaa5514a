// The tour in C, without an SDK: see ../README.md. Built as a WASI reactor, so that C's library is there.

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"

enum { TIMEOUT_MS = 5000 };

// What a name or a line may be long; what is longer is cut.
enum { LONGEST = 512 };

// Bytes that the host has put into a block of `proxy_on_memory_allocate`; whoever took them frees them. NULL and 0
// where there are none.
typedef struct {
  char *bytes;
  size_t size;
} text;

static text configuration;
static uint32_t requests, ticks;

// Which exchange waits for which answer: an answer comes to the root.
typedef struct waiting {
  uint32_t token, context;
  struct waiting *next;
} waiting;
static waiting *all_waiting;

// Which exchange waits for a tick; 0 for none.
static uint32_t later;

CALLBACK(proxy_abi_version_0_2_1) void proxy_abi_version_0_2_1(void) {}

CALLBACK(proxy_on_memory_allocate) void *proxy_on_memory_allocate(size_t size) { return malloc(size); }

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
  char line[LONGEST] = "[tour] ";
  const size_t prefix = strlen(line);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line + prefix, sizeof line - prefix, format, arguments);
  va_end(arguments);
  proxy_log(LOG_INFO, line, strlen(line));
}

static text header(uint32_t map, const char *name) {
  text value = {0};
  if (proxy_get_header_map_value(map, name, strlen(name), &value.bytes, &value.size) != OK) return (text){0};
  return value;
}

static void set_header(uint32_t map, const char *name, const char *value) {
  proxy_replace_header_map_value(map, name, strlen(name), value, strlen(value));
}

static void remove_header(uint32_t map, const char *name) { proxy_remove_header_map_value(map, name, strlen(name)); }

static text buffer(uint32_t which) {
  text content = {0};
  if (proxy_get_buffer_bytes(which, 0, SIZE_MAX, &content.bytes, &content.size) != OK) return (text){0};
  return content;
}

static bool is(text value, const char *other) {
  return value.size == strlen(other) && memcmp(value.bytes, other, value.size) == 0;
}

static uint32_t number_at(const char *bytes) {
  uint32_t number;
  memcpy(&number, bytes, sizeof number);
  return number;
}

// All values of a field, with bars between them.
static void values_of(uint32_t map, const char *name, char *joined, size_t room) {
  text pairs = {0};
  joined[0] = 0;
  if (proxy_get_header_map_pairs(map, &pairs.bytes, &pairs.size) != OK || pairs.size == 0) return;
  // How many there are; the sizes of each; then names and values, each with a zero behind it.
  const uint32_t count = number_at(pairs.bytes);
  const char *sizes = pairs.bytes + sizeof count, *at = sizes + 2 * sizeof count * count;
  for (uint32_t i = 0; i < count; i++, sizes += 2 * sizeof count) {
    const text field = {(char *)at, number_at(sizes)};
    const char *value = at + field.size + 1;
    at = value + number_at(sizes + sizeof count) + 1;
    if (!is(field, name)) continue;
    const size_t length = strlen(joined);
    snprintf(joined + length, room - length, "%s%s", length ? "|" : "", value);
  }
  free(pairs.bytes);
}

// Pairs as the host reads them, in a block of its own.
static text pairs_of(const char *const (*fields)[2], uint32_t count) {
  size_t size = sizeof count;
  for (uint32_t i = 0; i < count; i++) size += 8 + strlen(fields[i][0]) + 1 + strlen(fields[i][1]) + 1;
  char *bytes = malloc(size), *sizes = bytes + sizeof count, *at = sizes + 8 * count;
  if (!bytes) abort();
  memcpy(bytes, &count, sizeof count);
  for (uint32_t i = 0; i < 2 * count; i++, sizes += 4) {
    const char *part = fields[i / 2][i % 2];
    const uint32_t length = strlen(part);
    memcpy(sizes, &length, sizeof length);
    memcpy(at, part, length + 1);
    at += length + 1;
  }
  return (text){bytes, size};
}

CALLBACK(proxy_on_context_create) void proxy_on_context_create(uint32_t context, uint32_t parent) {
  if (parent == 0) say("context_create ctx=%" PRIu32 " parent=0", context);
}

CALLBACK(proxy_on_vm_start) int32_t proxy_on_vm_start(uint32_t root, size_t size) {
  puts("[tour] printed");
  fflush(stdout); // it is no terminal, so lines would be kept
  return true;
}

CALLBACK(proxy_on_configure) int32_t proxy_on_configure(uint32_t root, size_t size) {
  configuration = buffer(CONFIGURATION);
  if (configuration.size == 0) {
    const char *const why = "[tour] there is no configuration";
    proxy_log(LOG_ERROR, why, strlen(why));
    return false;
  }
  say("configured with %.*s", (int)configuration.size, configuration.bytes);
  proxy_define_metric(COUNTER, "tour_requests", strlen("tour_requests"), &requests);
  proxy_define_metric(GAUGE, "tour_ticks", strlen("tour_ticks"), &ticks);
  return true;
}

CALLBACK(proxy_on_tick) void proxy_on_tick(uint32_t root) {
  char line[LONGEST];
  uint64_t count = 0;
  proxy_increment_metric(ticks, 1);
  proxy_get_metric(ticks, &count);
  snprintf(line, sizeof line, "%" PRIu64, count);
  proxy_set_tick_period_milliseconds(0);
  if (proxy_set_effective_context(later) != OK) return; // the client has left
  set_header(REQUEST_HEADERS, "x-ticks", line);
  proxy_continue_stream(REQUEST);
}

static int32_t deny(void) {
  char body[LONGEST];
  snprintf(body, sizeof body, "denied by %.*s\n", (int)configuration.size, configuration.bytes);
  const char *const fields[][2] = {{"x-tour", "denied"}};
  text pairs = pairs_of(fields, 1);
  proxy_send_local_response(403, "tour_denied", strlen("tour_denied"), body, strlen(body), pairs.bytes, pairs.size,
                            NO_GRPC_STATUS);
  free(pairs.bytes);
  return PAUSE;
}

static int32_t wait(uint32_t context) {
  later = context;
  proxy_set_tick_period_milliseconds(1);
  return PAUSE;
}

static int32_t ask(uint32_t context) {
  const char *const fields[][2] = {
      {":method", "POST"}, {":path", "/question"}, {":authority", "asked.test"}, {"x-tour", "asks"}};
  text pairs = pairs_of(fields, 4);
  waiting *entry = malloc(sizeof *entry);
  if (!entry) abort();
  const int32_t status = proxy_http_call("up", strlen("up"), pairs.bytes, pairs.size, "question", strlen("question"),
                                         NULL, 0, TIMEOUT_MS, &entry->token);
  free(pairs.bytes);
  if (status != OK) {
    free(entry);
    return CONTINUE;
  }
  entry->context = context;
  entry->next = all_waiting;
  all_waiting = entry;
  return PAUSE;
}

CALLBACK(proxy_on_request_headers) int32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  char line[LONGEST];
  text path = header(REQUEST_HEADERS, ":path");
  say("request_headers %.*s", (int)path.size, path.bytes);
  proxy_increment_metric(requests, 1);
  const bool denied = is(path, "/denied"), asked = is(path, "/asked"), waits = is(path, "/later");
  free(path.bytes);
  if (denied) return deny();

  text in = header(REQUEST_HEADERS, "x-in");
  snprintf(line, sizeof line, "%.*s(%.*s)", (int)configuration.size, configuration.bytes, (int)in.size, in.bytes);
  free(in.bytes);
  set_header(REQUEST_HEADERS, "x-out", line);
  proxy_add_header_map_value(REQUEST_HEADERS, "x-many", strlen("x-many"), "c", 1);
  values_of(REQUEST_HEADERS, "x-many", line, sizeof line);
  set_header(REQUEST_HEADERS, "x-pairs", line);
  remove_header(REQUEST_HEADERS, "x-remove");
  remove_header(REQUEST_HEADERS, "content-length");
  return asked ? ask(context) : waits ? wait(context) : CONTINUE;
}

CALLBACK(proxy_on_http_call_response)
void proxy_on_http_call_response(uint32_t root, uint32_t token, uint32_t count, uint32_t size, uint32_t trailers) {
  waiting **link = &all_waiting;
  while (*link && (*link)->token != token) link = &(*link)->next;
  if (!*link) return;
  waiting *entry = *link;
  *link = entry->next;
  const uint32_t context = entry->context;
  free(entry);

  char line[LONGEST];
  text status = header(CALLOUT_HEADERS, ":status"), by = header(CALLOUT_HEADERS, "x-by"), body = buffer(CALLOUT_BODY);
  snprintf(line, sizeof line, "%.*s %.*s %.*s", (int)status.size, status.bytes, (int)by.size, by.bytes,
           (int)body.size, body.bytes);
  free(status.bytes);
  free(by.bytes);
  free(body.bytes);
  if (proxy_set_effective_context(context) != OK) return; // the client has left
  set_header(REQUEST_HEADERS, "x-answer", line);
  proxy_continue_stream(REQUEST);
}

CALLBACK(proxy_on_request_body) int32_t proxy_on_request_body(uint32_t context, size_t size, uint32_t end) {
  if (!end) return PAUSE;
  text body = buffer(REQUEST_BODY);
  const size_t prefix = configuration.size + 2;
  char *changed = malloc(prefix + body.size);
  if (!changed) abort();
  memcpy(changed, configuration.bytes, configuration.size);
  memcpy(changed + configuration.size, ": ", 2);
  for (size_t i = 0; i < body.size; i++) changed[prefix + i] = (char)toupper((unsigned char)body.bytes[i]);
  proxy_set_buffer_bytes(REQUEST_BODY, 0, size, changed, prefix + body.size);
  free(changed);
  free(body.bytes);
  return CONTINUE;
}

CALLBACK(proxy_on_response_headers) int32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  char line[LONGEST];
  text status = header(RESPONSE_HEADERS, ":status");
  snprintf(line, sizeof line, "%.*s", (int)status.size, status.bytes);
  free(status.bytes);
  set_header(RESPONSE_HEADERS, "x-status", line);
  remove_header(RESPONSE_HEADERS, "x-internal");
  remove_header(RESPONSE_HEADERS, "content-length");
  return CONTINUE;
}

CALLBACK(proxy_on_response_body) int32_t proxy_on_response_body(uint32_t context, size_t size, uint32_t end) {
  if (!end) return PAUSE;
  char line[LONGEST];
  snprintf(line, sizeof line, " and %.*s", (int)configuration.size, configuration.bytes);
  proxy_set_buffer_bytes(RESPONSE_BODY, size, 0, line, strlen(line));
  return CONTINUE;
}

CALLBACK(proxy_on_log) void proxy_on_log(uint32_t context) {
  uint64_t count = 0;
  text status = header(RESPONSE_HEADERS, ":status");
  proxy_get_metric(requests, &count);
  say("log %.*s requests=%" PRIu64, (int)status.size, status.bytes, count);
  free(status.bytes);
}
