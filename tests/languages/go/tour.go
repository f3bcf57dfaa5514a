// The tour in Go, without an SDK: see ../README.md.
package main

import (
	"fmt"
	"strings"
)

const timeoutMS = 5000

var (
	configuration   string
	requests, ticks uint32
	// Which exchange waits for which answer: an answer comes to the root.
	waiting = map[uint32]uint32{}
	// Which exchange waits for a tick; 0 for none.
	later uint32
)

// Never called: the module is a library.
func main() {}

//go:wasmexport proxy_on_context_create
func onContextCreate(context, parent uint32) {
	if parent == 0 {
		say("context_create ctx=%d parent=0", context)
	}
}

//go:wasmexport proxy_on_vm_start
func onVMStart(root, size uint32) uint32 {
	fmt.Println("[tour] printed")
	return 1
}

//go:wasmexport proxy_on_configure
func onConfigure(root, size uint32) uint32 {
	configuration = buffer(configurationText)
	if configuration == "" {
		proxyLog(logError, "[tour] there is no configuration")
		return 0
	}
	say("configured with %s", configuration)
	proxyDefineMetric(counter, "tour_requests", &requests)
	proxyDefineMetric(gauge, "tour_ticks", &ticks)
	return 1
}

//go:wasmexport proxy_on_tick
func onTick(root uint32) {
	var count uint64
	proxyIncrementMetric(ticks, 1)
	proxyGetMetric(ticks, &count)
	proxySetTickPeriod(0)
	if proxySetEffectiveContext(later) != ok {
		return // the client has left
	}
	proxyReplaceHeaderMapValue(requestHeaders, "x-ticks", fmt.Sprint(count))
	proxyContinueStream(request)
}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(context, count, end uint32) uint32 {
	path := header(requestHeaders, ":path")
	say("request_headers %s", path)
	proxyIncrementMetric(requests, 1)
	if path == "/denied" {
		fields := pairsOf([2]string{"x-tour", "denied"})
		proxySendLocalResponse(403, "tour_denied", fmt.Sprintf("denied by %s\n", configuration), fields, -1)
		return pause
	}
	proxyReplaceHeaderMapValue(requestHeaders, "x-out", configuration+"("+header(requestHeaders, "x-in")+")")
	proxyAddHeaderMapValue(requestHeaders, "x-many", "c")
	many := strings.Join(valuesOf(requestHeaders, "x-many"), "|")
	proxyReplaceHeaderMapValue(requestHeaders, "x-pairs", many)
	proxyRemoveHeaderMapValue(requestHeaders, "x-remove")
	proxyRemoveHeaderMapValue(requestHeaders, "content-length")
	switch path {
	case "/asked":
		return ask(context)
	case "/later":
		later = context
		proxySetTickPeriod(1)
		return pause
	}
	return proceed
}

func ask(context uint32) uint32 {
	var token uint32
	fields := pairsOf([2]string{":method", "POST"}, [2]string{":path", "/question"},
		[2]string{":authority", "asked.test"}, [2]string{"x-tour", "asks"})
	if proxyHTTPCall("up", fields, "question", "", timeoutMS, &token) != ok {
		return proceed
	}
	waiting[token] = context
	return pause
}

//go:wasmexport proxy_on_http_call_response
func onHTTPCallResponse(root, token, count, size, trailers uint32) {
	context := waiting[token]
	delete(waiting, token)
	answer := fmt.Sprintf("%s %s %s", header(calloutHeaders, ":status"), header(calloutHeaders, "x-by"),
		buffer(calloutBody))
	if proxySetEffectiveContext(context) != ok {
		return // the client has left
	}
	proxyReplaceHeaderMapValue(requestHeaders, "x-answer", answer)
	proxyContinueStream(request)
}

//go:wasmexport proxy_on_request_body
func onRequestBody(context, size, end uint32) uint32 {
	if end == 0 {
		return pause
	}
	proxySetBufferBytes(requestBody, 0, size, configuration+": "+strings.ToUpper(buffer(requestBody)))
	return proceed
}

//go:wasmexport proxy_on_response_headers
func onResponseHeaders(context, count, end uint32) uint32 {
	proxyReplaceHeaderMapValue(responseHeaders, "x-status", header(responseHeaders, ":status"))
	proxyRemoveHeaderMapValue(responseHeaders, "x-internal")
	proxyRemoveHeaderMapValue(responseHeaders, "content-length")
	return proceed
}

//go:wasmexport proxy_on_response_body
func onResponseBody(context, size, end uint32) uint32 {
	if end == 0 {
		return pause
	}
	proxySetBufferBytes(responseBody, size, 0, " and "+configuration)
	return proceed
}

//go:wasmexport proxy_on_log
func onLog(context uint32) {
	var count uint64
	proxyGetMetric(requests, &count)
	say("log %s requests=%d", header(responseHeaders, ":status"), count)
}
