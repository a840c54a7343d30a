package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

func (a *app) services() weftv1connect.ServiceServiceClient {
	return weftv1connect.NewServiceServiceClient(a.client())
}

func (a *app) serviceCommand() *cobra.Command {
	q := &weftv1.ListServicesRequest{}
	list := verb("list", "List the services of modules", func(ctx context.Context, _ []string) error {
		q.Namespace = a.namespace
		res, err := a.services().ListServices(ctx, q)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, s := range res.Services {
			current := "no"
			if s.Current {
				current = "yes"
			}
			var methods []string
			for _, m := range s.Methods {
				methods = append(methods, m.Name)
			}
			rows = append(rows, []string{s.Name, s.Module + ":" + s.Version, current, strings.Join(methods, ", ")})
		}
		err = a.table(res, "SERVICE MODULE CURRENT METHODS", rows)
		if res.NextPageToken != "" && a.output == "table" {
			a.printf("more: --page %s\n", res.NextPageToken)
		}
		return err
	})
	list.Flags().StringVar(&q.PageToken, "page", "", "token of the page before")
	return group("service", "See what modules serve", list,
		verb("describe NAME[:VERSION]", "Describe a service: its methods, routes and an example of each request", func(ctx context.Context, args []string) error {
			name, version, _ := strings.Cut(args[0], ":")
			res, err := a.services().GetService(ctx, &weftv1.GetServiceRequest{Namespace: a.namespace, Name: name, Version: version})
			if err != nil {
				return err
			}
			if done, err := a.json(res); done {
				return err
			}
			a.showService(res.Service)
			return nil
		}))
}

func (a *app) showService(s *weftv1.Service) {
	current := ""
	if s.Current {
		current = ", called where no version is named"
	}
	a.printf("%s  of %s:%s%s\n", s.Name, s.Module, s.Version, current)
	a.comment("  ", s.Description)
	for _, m := range s.Methods {
		a.printf("  %s\n", m.Procedure)
		a.comment("    ", m.Description)
		a.printf("    %s -> %s\n", streamed(m.ClientStream, m.Request), streamed(m.ServerStream, m.Response))
		for _, r := range m.Routes {
			body := ""
			if r.Body != "" {
				body = "  body " + r.Body
			}
			a.printf("    route     %s %s%s\n", r.Verb, r.Path, body)
		}
		if m.Workflow != "" {
			a.printf("    workflow  %s%s\n", m.Workflow, map[bool]string{true: ", not waited for"}[m.Async])
		}
		a.printf("    example   %s\n", m.ExampleJson)
	}
}

// comment prints the lines of a comment, if there is one.
func (a *app) comment(indent, text string) {
	for line := range strings.Lines(text) {
		a.printf("%s%s\n", indent, strings.TrimSpace(line))
	}
}

// streamed is how the messages of one side come.
func streamed(stream bool, message string) string {
	if stream {
		return "stream of " + message
	}
	return message
}

func (a *app) serviceWords(ctx context.Context) (words []string) {
	res, err := a.services().ListServices(ctx, &weftv1.ListServicesRequest{Namespace: a.namespace})
	if err != nil {
		return nil
	}
	for _, s := range res.Services {
		if s.Current {
			words = append(words, s.Name)
		}
	}
	return words
}
