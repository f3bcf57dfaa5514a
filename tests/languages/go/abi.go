package main

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// What of Proxy-Wasm the tour needs. Numbers that the host writes are 32 bits wide, addresses among them, though Go's
// own pointers have 64.

const (
	ok = 0

	logInfo, logError = 2, 4

	proceed, pause = 0, 1

	request = 0

	counter, gauge = 0, 1

	requestHeaders, responseHeaders, calloutHeaders = 0, 2, 6

	requestBody, responseBody, calloutBody, configurationText = 0, 1, 4, 7

	everything = ^uint32(0)
)

//go:wasmimport env proxy_log
func proxyLog(level uint32, text string) uint32

//go:wasmimport env proxy_set_tick_period_milliseconds
func proxySetTickPeriod(period uint32) uint32

//go:wasmimport env proxy_set_effective_context
func proxySetEffectiveContext(context uint32) uint32

//go:wasmimport env proxy_continue_stream
func proxyContinueStream(stream uint32) uint32

//go:wasmimport env proxy_define_metric
func proxyDefineMetric(kind uint32, name string, metric *uint32) uint32

//go:wasmimport env proxy_increment_metric
func proxyIncrementMetric(metric uint32, by int64) uint32

//go:wasmimport env proxy_get_metric
func proxyGetMetric(metric uint32, value *uint64) uint32

//go:wasmimport env proxy_get_buffer_bytes
func proxyGetBufferBytes(buffer, start, length uint32, address, size *uint32) uint32

//go:wasmimport env proxy_set_buffer_bytes
func proxySetBufferBytes(buffer, start, length uint32, bytes string) uint32

//go:wasmimport env proxy_get_header_map_pairs
func proxyGetHeaderMapPairs(headers uint32, address, size *uint32) uint32

//go:wasmimport env proxy_get_header_map_value
func proxyGetHeaderMapValue(headers uint32, name string, address, size *uint32) uint32

//go:wasmimport env proxy_add_header_map_value
func proxyAddHeaderMapValue(headers uint32, name, value string) uint32

//go:wasmimport env proxy_replace_header_map_value
func proxyReplaceHeaderMapValue(headers uint32, name, value string) uint32

//go:wasmimport env proxy_remove_header_map_value
func proxyRemoveHeaderMapValue(headers uint32, name string) uint32

//go:wasmimport env proxy_send_local_response
func proxySendLocalResponse(status uint32, details, body, pairs string, grpcStatus int32) uint32

//go:wasmimport env proxy_http_call
func proxyHTTPCall(cluster, pairs, body, trailers string, timeoutMS uint32, token *uint32) uint32

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

// What the host was given to write to and nobody has taken yet: Go's garbage collector does not know that the host holds
// an address.
var blocks = map[uint32][]byte{}

// Never called for 0 bytes.
//
//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) unsafe.Pointer {
	block := make([]byte, size)
	address := unsafe.Pointer(unsafe.SliceData(block))
	blocks[uint32(uintptr(address))] = block
	return address
}

// Takes what a function of the host has written; nothing where it did not do so.
func taken(status, address, size uint32) string {
	block := blocks[address]
	delete(blocks, address)
	if status != ok || uint32(len(block)) != size {
		return ""
	}
	return string(block)
}

func say(format string, arguments ...any) {
	proxyLog(logInfo, "[tour] "+fmt.Sprintf(format, arguments...))
}

func header(headers uint32, name string) string {
	var address, size uint32
	status := proxyGetHeaderMapValue(headers, name, &address, &size)
	return taken(status, address, size)
}

func buffer(which uint32) string {
	var address, size uint32
	status := proxyGetBufferBytes(which, 0, everything, &address, &size)
	return taken(status, address, size)
}

// All values of a field.
func valuesOf(headers uint32, name string) (values []string) {
	var address, size uint32
	status := proxyGetHeaderMapPairs(headers, &address, &size)
	pairs := taken(status, address, size)
	if pairs == "" {
		return nil
	}
	// How many there are; the sizes of each; then names and values, each with a zero behind it.
	number := func(at uint32) uint32 { return binary.LittleEndian.Uint32([]byte(pairs[at : at+4])) }
	count := number(0)
	at := 4 + 8*count
	part := func(size uint32) string {
		part := pairs[at : at+size]
		at += size + 1
		return part
	}
	for i := range count {
		field, value := part(number(4+8*i)), part(number(8+8*i))
		if field == name {
			values = append(values, value)
		}
	}
	return values
}

// Pairs as the host reads them.
func pairsOf(fields ...[2]string) string {
	sizes := binary.LittleEndian.AppendUint32(nil, uint32(len(fields)))
	var parts []byte
	for _, field := range fields {
		for _, part := range field {
			sizes = binary.LittleEndian.AppendUint32(sizes, uint32(len(part)))
			parts = append(append(parts, part...), 0)
		}
	}
	return string(append(sizes, parts...))
}
