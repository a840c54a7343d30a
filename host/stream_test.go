package host_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/grpcreflect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

// holds waits until so many streams have a place.
func (s *served) holds(n string) {
	s.t.Helper()
	wait(s.t, func() bool {
		text, _ := s.scrape()
		return strings.Contains(text, "\nweft_streams "+n+"\n")
	})
}

// tail opens a stream in a namespace, and says what its first answer failed with.
func (s *served) tail(ctx context.Context, ns string) error {
	stream, err := weftv1connect.NewEventServiceClient(s.client()).Tail(ctx, &weftv1.TailRequest{Namespace: ns})
	if err == nil {
		_, err = stream.Receive()
	}
	return err
}

const refusedStream = "1 callers hold streams of namespace default, and no more may; end one that nobody reads, or come again later"

func TestStreamsAreBounded(t *testing.T) {
	s := serve(t, host.Options{Streams: 2, StreamsOf: 1})
	s.apply("", listening)
	id := regexp.MustCompile(`"id":"(\w+)"`).FindStringSubmatch(compact(s.must("/weft.v1.RunService/Start", `{"workflow":"listening"}`)))[1]
	requests := map[string]proto.Message{
		"weft.v1.RunService/Watch":      &weftv1.WatchRequest{Id: id},
		"weft.v1.RegistryService/Watch": &weftv1.RegistryServiceWatchRequest{Service: "peer"},
	}
	kinds := map[string]func(context.Context) error{
		"reflection": func(ctx context.Context) error {
			stream := grpcreflect.NewClient(s.client()).NewStream(ctx)
			context.AfterFunc(ctx, func() { _ = stream.Close() }) // net/http does not end a request whose body is still to come
			_, err := stream.ListServices()
			return err
		},
	}
	services(func(d protoreflect.ServiceDescriptor) {
		for i := range d.Methods().Len() {
			m := d.Methods().Get(i)
			procedure := string(d.FullName()) + "/" + string(m.Name())
			if !m.IsStreamingServer() {
				continue
			}
			request := requests[procedure]
			if request == nil {
				request = &emptypb.Empty{}
			}
			kinds[procedure] = func(ctx context.Context) error {
				stream, err := s.client().CallServerStream(ctx, connect.Spec{Procedure: "/" + procedure, StreamType: connect.StreamTypeServer}, request)
				if err == nil {
					err = stream.Receive(&emptypb.Empty{})
				}
				return err
			}
		}
	})
	held, end := context.WithCancel(t.Context())
	go func() { _ = s.tail(held, "") }()
	s.holds("1")
	for kind, open := range kinds {
		if err := open(t.Context()); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), refusedStream) {
			t.Errorf("%s, when there is a stream: %v", kind, err)
		}
	}
	other, leave := context.WithCancel(t.Context())
	go func() { _ = s.tail(other, "b") }()
	s.holds("2")
	if err := s.tail(t.Context(), "c"); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "2 callers hold streams of this host, and no more may") {
		t.Errorf("one too many of the host: %v", err)
	}
	if res, answer := s.called("/workflows/listening", `{}`, "Prefer", "respond-async"); res.StatusCode != 202 {
		t.Errorf("who holds no stream: %d %s", res.StatusCode, answer)
	}
	end()
	leave()
	s.holds("0")
	for kind, open := range kinds {
		within, end := context.WithCancel(t.Context())
		go func() { _ = open(within) }()
		s.holds("1")
		if err := s.tail(t.Context(), ""); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), refusedStream) {
			t.Errorf("beside %s: %v", kind, err)
		}
		end()
		s.holds("0")
	}
	text, _ := s.scrape()
	if want := fmt.Sprintf("\nweft_streams_refused_total %d\n", 2*len(kinds)+1); !strings.Contains(text, want) {
		t.Errorf("no line %s in %s", want, text)
	}
}
