package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

func (a *app) eventCommand() *cobra.Command {
	e := &weftv1.Event{}
	var data string
	var delay time.Duration
	publish := verb("publish", "Publish an event", func(ctx context.Context, _ []string) error {
		if e.Type == "" {
			return usagef("--type is missing; name what happened, such as shop.order.placed")
		}
		var err error
		if e.Binary, err = a.inputOf("--data", data); err != nil {
			return err
		}
		if e.Binary != nil {
			e.ContentType = "application/json"
		}
		if delay > 0 {
			e.Extensions = map[string]string{"notbefore": time.Now().Add(delay).UTC().Format(time.RFC3339Nano)}
		}
		res, err := weftv1connect.NewEventServiceClient(a.client()).Publish(ctx, &weftv1.PublishRequest{Namespace: a.namespace, Events: []*weftv1.Event{e}})
		if err != nil {
			return err
		}
		return a.print(res, "published at offset %d\n", res.Offsets[0])
	})
	publish.Flags().StringVar(&e.Type, "type", "", "such as shop.order.placed")
	publish.Flags().StringVar(&e.Source, "source", "/cli", "URI reference of the producer")
	publish.Flags().StringVar(&e.Subject, "subject", "", "what it is about")
	publish.Flags().StringVar(&e.Id, "id", "", "id; made when empty")
	publish.Flags().StringVar(&data, "data", "", inputHelp)
	publish.Flags().DurationVar(&delay, "delay", 0, "deliver it no earlier than in this time")
	q := &weftv1.TailRequest{}
	tail := verb("tail", "Show events as they come", func(ctx context.Context, _ []string) error {
		q.Namespace = a.namespace
		stream, err := weftv1connect.NewEventServiceClient(a.client()).Tail(ctx, q)
		if err != nil {
			return err
		}
		defer stream.Close()
		err = each(stream.Receive, func(res *weftv1.TailResponse) error {
			if done, err := a.jsonLine(res); done {
				return err
			}
			body := string(res.Event.Binary)
			if res.Event.Data != nil {
				body = text(res.Event.Data)
			}
			a.printf("%6d  %-28s %-24s %s\n", res.Offset, res.Event.Type, res.Event.Source, body)
			return nil
		})
		if ctx.Err() != nil {
			return nil // ended by hand
		}
		return err
	})
	tail.Flags().BoolVar(&q.All, "all", false, "begin with the oldest")
	return group("event", "Publish and watch events", publish, tail, a.letterCommand())
}

func (a *app) letterCommand() *cobra.Command {
	client := func() weftv1connect.EventServiceClient { return weftv1connect.NewEventServiceClient(a.client()) }
	q := &weftv1.ListDeadLettersRequest{}
	list := verb("list", "List dead letters, the newest first", func(ctx context.Context, _ []string) error {
		q.Namespace = a.namespace
		res, err := client().ListDeadLetters(ctx, q)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, d := range res.DeadLetters {
			rows = append(rows, []string{fmt.Sprint(d.Offset), strconv.Quote(d.Group), d.Event.Type, d.Event.Id, fmt.Sprint(d.Attempts), d.Error})
		}
		err = a.table(res, "OFFSET GROUP TYPE ID ATTEMPTS ERROR", rows)
		if res.NextPageToken != "" && a.output == "table" {
			a.printf("more: --page '%s'\n", res.NextPageToken)
		}
		return err
	})
	list.Flags().StringVar(&q.Group, "group", "", "of one group only")
	list.Flags().Int32Var(&q.PageSize, "limit", 50, "dead letters in a page")
	list.Flags().StringVar(&q.PageToken, "page", "", "token of the page before")
	return group("dlq", "See, replay and drop events that a group has given up", list,
		verb("replay GROUP OFFSET", "Hand an event to its group again", func(ctx context.Context, args []string) error {
			offset, err := offsetOf(args[1])
			if err != nil {
				return err
			}
			res, err := client().ReplayDeadLetter(ctx, &weftv1.ReplayDeadLetterRequest{Namespace: a.namespace, Group: args[0], Offset: offset})
			if err != nil {
				return err
			}
			if done, err := a.json(res); done {
				return err
			}
			a.printf("event %d goes to %q again\n", offset, args[0])
			return nil
		}),
		verb("drop GROUP OFFSET", "Remove a dead letter for good", func(ctx context.Context, args []string) error {
			offset, err := offsetOf(args[1])
			if err != nil {
				return err
			}
			res, err := client().DropDeadLetter(ctx, &weftv1.DropDeadLetterRequest{Namespace: a.namespace, Group: args[0], Offset: offset})
			if err != nil {
				return err
			}
			if done, err := a.json(res); done {
				return err
			}
			a.printf("event %d of %q is dropped\n", offset, args[0])
			return nil
		}))
}

func offsetOf(s string) (int64, error) {
	offset, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, usagef("%q is no offset; write a number, as weft event dlq list shows it", s)
	}
	return offset, nil
}

func (a *app) registry() weftv1connect.RegistryServiceClient {
	return weftv1connect.NewRegistryServiceClient(a.client())
}

func (a *app) peerCommand() *cobra.Command {
	q := &weftv1.RegisterRequest{}
	register := verb("register SERVICE", "Register a peer and keep its lease until interrupted", func(ctx context.Context, args []string) error {
		if q.Url == "" {
			return usagef("--url is missing; say where the peer is, such as http://127.0.0.1:9000")
		}
		q.Namespace, q.Service = a.namespace, args[0]
		return a.keepLease(ctx, q)
	})
	register.Flags().StringVar(&q.Url, "url", "", "base address of the peer, http or https")
	register.Flags().StringVar(&q.Instance, "instance", fmt.Sprintf("cli-%d", os.Getpid()), "name of this instance")
	register.Flags().StringVar(&q.Zone, "zone", "", "where it is; hosts of that zone prefer it")
	register.Flags().Int32Var(&q.Weight, "weight", 0, "its share of calls, 1 to 1000; default 100")
	register.Flags().StringVar(&q.Health, "health", "", "what is asked every 5 seconds: a path such as /healthz, grpc or grpc:SERVICE")
	return group("peer", "See and register peers", register, a.policyCommand(),
		verb("list", "List live instances", func(ctx context.Context, _ []string) error {
			res, err := a.registry().ListInstances(ctx, &weftv1.ListInstancesRequest{Namespace: a.namespace})
			if err != nil {
				return err
			}
			var rows [][]string
			for _, i := range res.Instances {
				status := strings.ToLower(strings.TrimPrefix(i.Status.String(), "INSTANCE_STATUS_"))
				rows = append(rows, []string{i.Service, i.Instance, i.Url, status, orDash(i.Zone), fmt.Sprint(i.Weight)})
			}
			return a.table(res, "SERVICE INSTANCE URL STATUS ZONE WEIGHT", rows)
		}),
		verb("drain SERVICE INSTANCE", "Have an instance take no new calls", func(ctx context.Context, args []string) error {
			i, err := a.instance(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			res, err := a.registry().Drain(ctx, &weftv1.DrainRequest{Namespace: a.namespace, Service: i.Service, Instance: i.Instance, Epoch: i.Epoch})
			if err != nil {
				return err
			}
			return a.print(res, "%s of %s takes no new calls\n", i.Instance, i.Service)
		}),
		verb("rm SERVICE INSTANCE", "Remove an instance; a program that keeps its lease registers again", func(ctx context.Context, args []string) error {
			i, err := a.instance(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			res, err := a.registry().Deregister(ctx, &weftv1.DeregisterRequest{Namespace: a.namespace, Service: i.Service, Instance: i.Instance, Epoch: i.Epoch})
			if err != nil {
				return err
			}
			return a.print(res, "%s of %s is removed\n", i.Instance, i.Service)
		}))
}

// instance is a live instance as it is registered now.
func (a *app) instance(ctx context.Context, service, name string) (*weftv1.Instance, error) {
	res, err := a.registry().Lookup(ctx, &weftv1.LookupRequest{Namespace: a.namespace, Service: service})
	if err != nil {
		return nil, err
	}
	for _, i := range res.Instances {
		if i.Instance == name {
			return i, nil
		}
	}
	return nil, fmt.Errorf("%s has no live instance %s; weft peer list shows what there is", service, name)
}

func (a *app) keepLease(ctx context.Context, q *weftv1.RegisterRequest) error {
	res, err := a.registry().Register(ctx, q)
	if err != nil {
		return err
	}
	if err := a.print(res, "%s is registered as %s (epoch %d); end with Ctrl-C\n", q.Url, q.Service, res.Epoch); err != nil {
		return err
	}
	beat := time.NewTicker(res.HeartbeatInterval.AsDuration())
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if _, err := a.registry().Heartbeat(ctx, &weftv1.HeartbeatRequest{Namespace: q.Namespace, Service: q.Service, Instance: q.Instance, Epoch: res.Epoch}); err != nil && connect.CodeOf(err) != connect.CodeUnavailable && ctx.Err() == nil {
				return err // when weft is away for a moment the lease lasts
			}
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			_, err := a.registry().Deregister(ctx, &weftv1.DeregisterRequest{Namespace: q.Namespace, Service: q.Service, Instance: q.Instance, Epoch: res.Epoch})
			if err == nil && a.output == "table" {
				a.printf("%s is deregistered\n", q.Service)
			}
			return err
		}
	}
}

func (a *app) breakers() weftv1connect.BreakerServiceClient {
	return weftv1connect.NewBreakerServiceClient(a.client())
}

func (a *app) breakerCommand() *cobra.Command {
	p := &weftv1.SetPolicyRequest{}
	var open time.Duration
	set := verb("set PEER", "Set when breakers of a peer open, and for how long", func(ctx context.Context, args []string) error {
		p.Namespace, p.Peer, p.Open = a.namespace, args[0], durationpb.New(open)
		if _, err := a.breakers().SetPolicy(ctx, p); err != nil {
			return err
		}
		failures, length := "the usual failures", "the usual time"
		if p.Failures > 0 {
			failures = fmt.Sprintf("%d failures", p.Failures)
		}
		if open > 0 {
			length = open.String()
		}
		return a.print(p, "breakers of %s: %s, open for %s\n", args[0], failures, length)
	})
	set.Flags().Int32Var(&p.Failures, "failures", 0, "failures in a row; default 5")
	set.Flags().DurationVar(&open, "open", 0, "default 30s")
	return group("breaker", "See and set breakers", set,
		verb("list", "List breakers", func(ctx context.Context, _ []string) error { return a.listBreakers(ctx, "") }),
		verb("watch", "Show breakers, and how they change", a.watchBreakers),
		verb("open PEER", "Refuse all calls to a peer", func(ctx context.Context, args []string) error {
			if _, err := a.breakers().Open(ctx, &weftv1.OpenRequest{Namespace: a.namespace, Peer: args[0]}); err != nil {
				return err
			}
			return a.listBreakers(ctx, args[0])
		}),
		verb("close PEER", "Let all calls to a peer through", func(ctx context.Context, args []string) error {
			if _, err := a.breakers().Close(ctx, &weftv1.CloseRequest{Namespace: a.namespace, Peer: args[0]}); err != nil {
				return err
			}
			return a.listBreakers(ctx, args[0])
		}),
		verb("reset PEER", "Let the breakers decide by themselves again", func(ctx context.Context, args []string) error {
			if _, err := a.breakers().Reset(ctx, &weftv1.ResetRequest{Namespace: a.namespace, Peer: args[0]}); err != nil {
				return err
			}
			return a.listBreakers(ctx, args[0])
		}))
}

// listBreakers shows the breakers of a peer, or of all.
func (a *app) listBreakers(ctx context.Context, peer string) error {
	res, err := a.breakers().ListBreakers(ctx, &weftv1.ListBreakersRequest{Namespace: a.namespace})
	if err != nil {
		return err
	}
	if peer != "" {
		res.Breakers = slices.DeleteFunc(res.Breakers, func(b *weftv1.Breaker) bool { return b.Peer != peer })
	}
	var rows [][]string
	for _, b := range res.Breakers {
		rows = append(rows, []string{b.Peer, orDash(b.Instance), b.State, orDash(untilOf(b)), orDash(b.Reason)})
	}
	return a.table(res, "PEER INSTANCE STATE UNTIL REASON", rows)
}

// watchBreakers shows a line for each breaker, and one for each change.
func (a *app) watchBreakers(ctx context.Context, _ []string) error {
	stream, err := a.breakers().Watch(ctx, &weftv1.BreakerServiceWatchRequest{Namespace: a.namespace})
	if err != nil {
		return err
	}
	defer stream.Close()
	err = each(stream.Receive, func(res *weftv1.BreakerServiceWatchResponse) error {
		if done, err := a.jsonLine(res); done {
			return err
		}
		for _, b := range res.Breakers {
			until := untilOf(b)
			if until != "" {
				until = " until " + until
			}
			a.printf("%s  %-32s %s%s  %s\n", b.ChangeTime.AsTime().Local().Format(time.TimeOnly), strings.TrimSuffix(b.Peer+"/"+b.Instance, "/"), b.State, until, b.Reason)
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil // ended by hand
	}
	return err
}

func untilOf(b *weftv1.Breaker) string {
	if b.Until == nil {
		return ""
	}
	return b.Until.AsTime().Local().Format(time.TimeOnly)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
