// Correlation: every request has an id, which the client gave or is made here; the service and the client get it, and one
// line of the log for each exchange begins with it.
//
// What of Proxy-Wasm it needs is in abi.go: there is no SDK, and no other compiler than Go's own (1.24 or later).
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// What the operator writes.
type configuration struct {
	// The header that carries the id; x-correlation-id without this.
	Header string `json:"header"`
	// Ids of clients are not taken over: for a proxy at the edge.
	Distrust bool `json:"distrust"`
	// No line for exchanges with a status below this; 0 is a line for each.
	LogFrom int `json:"log_from"`
}

// What is remembered of one exchange.
type exchange struct {
	id, method, path string
	began            time.Time
}

const longestID = 128

var (
	config           configuration
	exchanges        = map[uint32]*exchange{}
	given, generated uint32
)

// Never called: the module is a library.
func main() {}

//go:wasmexport proxy_on_configure
func onConfigure(root, size uint32) uint32 {
	config = configuration{Header: "x-correlation-id"}
	if size > 0 {
		decoder := json.NewDecoder(strings.NewReader(buffer(pluginConfiguration)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&config); err != nil {
			log(levelError, "the configuration is not usable: %v", err)
			return 0
		}
	}
	config.Header = strings.ToLower(config.Header)
	if !isToken(config.Header) {
		log(levelError, "header: %q is not the name of a header", config.Header)
		return 0
	}
	given = defineCounter(`correlation_ids{origin="client"}`)
	generated = defineCounter(`correlation_ids{origin="generated"}`)
	return 1
}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(context, count, end uint32) uint32 {
	id, origin := header(requestHeaders, config.Header), given
	if config.Distrust || !isID(id) {
		id, origin = newID(time.Now()), generated
	}
	increment(origin)
	setHeader(requestHeaders, config.Header, id)
	exchanges[context] = &exchange{
		id:     id,
		method: header(requestHeaders, ":method"),
		path:   withoutQuery(header(requestHeaders, ":path")),
		began:  time.Now(),
	}
	return proceed
}

// Also called for an answer of another filter's, or of the proxy's own.
//
//go:wasmexport proxy_on_response_headers
func onResponseHeaders(context, count, end uint32) uint32 {
	if exchange := exchanges[context]; exchange != nil {
		setHeader(responseHeaders, config.Header, exchange.id)
	}
	return proceed
}

//go:wasmexport proxy_on_log
func onLog(context uint32) {
	exchange := exchanges[context]
	status := header(responseHeaders, ":status")
	if exchange == nil || status < fmt.Sprintf("%03d", config.LogFrom) {
		return
	}
	took := time.Since(exchange.began).Milliseconds()
	log(levelInfo, "%s %s %s %s %d ms", exchange.id, exchange.method, exchange.path, status, took)
}

// Without this the map would grow with every exchange.
//
//go:wasmexport proxy_on_delete
func onDelete(context uint32) {
	delete(exchanges, context)
}

// A UUID whose first half is the time, so that ids sort by it (RFC 9562, version 7).
func newID(now time.Time) string {
	var id [16]byte
	rand.Read(id[6:])
	var milliseconds [8]byte
	binary.BigEndian.PutUint64(milliseconds[:], uint64(now.UnixMilli()))
	copy(id[:6], milliseconds[2:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	text := hex.EncodeToString(id[:])
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}

// An id is repeated in logs and headers: it is short, and has nothing in it that means something there.
func isID(text string) bool {
	return len(text) <= longestID && isToken(text)
}

// Letters, digits and some signs (RFC 9110, section 5.6.2).
func isToken(text string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	rest := bytes.Trim([]byte(text), letters+"!#$&'*+-.^_`|~")
	return text != "" && len(rest) == 0
}

// Queries may have secrets in them.
func withoutQuery(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return path
}
