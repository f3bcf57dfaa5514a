package main

import (
	"fmt"
	"unsafe"
)

// What of Proxy-Wasm (ABI 0.2.1) the filter needs. Numbers that the host writes are 32 bits wide, addresses among them,
// though Go's own pointers have 64.

const (
	ok = 0

	proceed = 0

	levelInfo, levelError = 2, 4

	counter = 0

	requestHeaders, responseHeaders = 0, 2

	pluginConfiguration = 7

	everything = ^uint32(0)
)

//go:wasmimport env proxy_log
func proxyLog(level uint32, text string) uint32

//go:wasmimport env proxy_define_metric
func proxyDefineMetric(kind uint32, name string, metric *uint32) uint32

//go:wasmimport env proxy_increment_metric
func proxyIncrementMetric(metric uint32, by int64) uint32

//go:wasmimport env proxy_get_buffer_bytes
func proxyGetBufferBytes(buffer, start, length uint32, address, size *uint32) uint32

//go:wasmimport env proxy_get_header_map_value
func proxyGetHeaderMapValue(headers uint32, name string, address, size *uint32) uint32

//go:wasmimport env proxy_replace_header_map_value
func proxyReplaceHeaderMapValue(headers uint32, name, value string) uint32

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

func log(level uint32, format string, arguments ...any) {
	proxyLog(level, fmt.Sprintf(format, arguments...))
}

// A field's first value; nothing where there is none.
func header(headers uint32, name string) string {
	var address, size uint32
	status := proxyGetHeaderMapValue(headers, name, &address, &size)
	return taken(status, address, size)
}

func setHeader(headers uint32, name, value string) {
	proxyReplaceHeaderMapValue(headers, name, value)
}

func buffer(which uint32) string {
	var address, size uint32
	status := proxyGetBufferBytes(which, 0, everything, &address, &size)
	return taken(status, address, size)
}

// The ABI knows no labels: tidegate reads those that are in the name.
func defineCounter(name string) (metric uint32) {
	proxyDefineMetric(counter, name, &metric)
	return metric
}

func increment(metric uint32) {
	proxyIncrementMetric(metric, 1)
}
