// Command grpc-bench makes a fixed number of gRPC calls and says how fast they went, or answers them.
//
//	grpc-bench serve -listen 127.0.0.1:0
//	grpc-bench call  -to 127.0.0.1:8080 -method unary -calls 20000 -connections 4 -concurrency 32 -bytes 60
//
// The service is the official one of gRPC's interoperability tests, so that `serve` is their server too, with an address
// that it prints rather than a port that it is given. It ends with its standard input. `call` prints one line of JSON: a
// call that fails is counted, and none is made again.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("grpc-bench: say serve or call")
	}
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2:])
	case "call":
		call(os.Args[2:])
	default:
		log.Fatalf("grpc-bench: there is no %q, only serve and call", os.Args[1])
	}
}

func serve(arguments []string) {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "where to listen")
	_ = flags.Parse(arguments)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatalf("grpc-bench: %v", err)
	}
	service := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(service, interop.NewTestServer())
	fmt.Println(listener.Addr())
	go func() { // whoever started it has ended
		_, _ = io.Copy(io.Discard, os.Stdin)
		service.Stop()
	}()
	if err := service.Serve(listener); err != nil {
		log.Fatalf("grpc-bench: %v", err)
	}
}

// report is what `call` prints; times are in microseconds.
type report struct {
	Method     string  `json:"method"`
	Calls      int     `json:"calls"`
	Failed     int64   `json:"failed"`
	Messages   int64   `json:"messages"`
	Seconds    float64 `json:"seconds"`
	PerSecond  float64 `json:"per_second"`
	P50        int64   `json:"p50_us"`
	P99        int64   `json:"p99_us"`
	Max        int64   `json:"max_us"`
	FirstError string  `json:"first_error,omitempty"`
}

func call(arguments []string) {
	flags := flag.NewFlagSet("call", flag.ExitOnError)
	to := flags.String("to", "", "the server's address, or a proxy's")
	method := flags.String("method", "unary", "unary, or stream: one request, -messages responses")
	calls := flags.Int("calls", 10000, "how many calls, in all")
	connections := flags.Int("connections", 1, "how many connections they share")
	concurrency := flags.Int("concurrency", 1, "how many calls there are at once, in all")
	messages := flags.Int("messages", 100, "responses of each streaming call")
	bytes := flags.Int("bytes", 60, "the size of each response's payload")
	longest := flags.Duration("longest", 30*time.Second, "a call's deadline")
	_ = flags.Parse(arguments)
	if *to == "" || *calls < 1 || *connections < 1 || *concurrency < 1 {
		log.Fatal("grpc-bench: call takes -to ADDRESS, and at least one call, connection and caller")
	}
	if *method != "unary" && *method != "stream" {
		log.Fatalf("grpc-bench: there is no method %q, only unary and stream", *method)
	}

	clients := make([]testgrpc.TestServiceClient, *connections)
	for i := range clients {
		connection, err := grpc.NewClient("passthrough:///"+*to, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			log.Fatalf("grpc-bench: %v", err)
		}
		defer connection.Close()
		clients[i] = testgrpc.NewTestServiceClient(connection)
	}
	one := func(client testgrpc.TestServiceClient) (int, error) {
		ctx, cancel := context.WithTimeout(context.Background(), *longest)
		defer cancel()
		if *method == "unary" {
			_, err := client.UnaryCall(ctx, &testgrpc.SimpleRequest{ResponseSize: int32(*bytes)})
			return 1, err
		}
		return stream(ctx, client, *messages, *bytes)
	}
	for _, client := range clients { // connected before the clock runs
		if _, err := one(client); err != nil {
			log.Fatalf("grpc-bench: the first call failed: %v", err)
		}
	}

	result := report{Method: *method, Calls: *calls}
	var begun, failed, received atomic.Int64
	var firstError sync.Once
	times := make([][]time.Duration, *concurrency)
	var callers sync.WaitGroup
	began := time.Now()
	for caller := range *concurrency {
		callers.Add(1)
		go func() {
			defer callers.Done()
			client := clients[caller%len(clients)]
			for begun.Add(1) <= int64(*calls) {
				start := time.Now()
				count, err := one(client)
				times[caller] = append(times[caller], time.Since(start))
				received.Add(int64(count))
				if err != nil {
					failed.Add(1)
					firstError.Do(func() { result.FirstError = err.Error() })
				}
			}
		}()
	}
	callers.Wait()
	elapsed := time.Since(began)

	all := slices.Concat(times...)
	slices.Sort(all)
	at := func(share float64) int64 { return all[int(share*float64(len(all)-1))].Microseconds() }
	result.Failed, result.Messages = failed.Load(), received.Load()
	result.Seconds, result.PerSecond = elapsed.Seconds(), float64(*calls)/elapsed.Seconds()
	result.P50, result.P99, result.Max = at(0.5), at(0.99), at(1)
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		log.Fatalf("grpc-bench: %v", err)
	}
	if result.Failed > 0 {
		os.Exit(1)
	}
}

// stream makes one streaming call, and says how many messages came.
func stream(ctx context.Context, client testgrpc.TestServiceClient, messages, bytes int) (int, error) {
	request := &testgrpc.StreamingOutputCallRequest{}
	for range messages {
		request.ResponseParameters = append(request.ResponseParameters, &testgrpc.ResponseParameters{Size: int32(bytes)})
	}
	responses, err := client.StreamingOutputCall(ctx, request)
	if err != nil {
		return 0, err
	}
	for count := 0; ; count++ {
		if _, err := responses.Recv(); err == io.EOF {
			if count != messages {
				return count, fmt.Errorf("%d messages of %d", count, messages)
			}
			return count, nil
		} else if err != nil {
			return count, err
		}
	}
}
