package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

func (a *app) hooks() weftv1connect.HookServiceClient {
	return weftv1connect.NewHookServiceClient(a.client())
}

func (a *app) hookCommand() *cobra.Command {
	describe := verb("describe NAME", "Describe a hook: its path, who signs, and the event that a call becomes", func(ctx context.Context, args []string) error {
		res, err := a.hooks().GetHook(ctx, &weftv1.GetHookRequest{Namespace: a.namespace, Name: args[0]})
		if err != nil {
			return err
		}
		if done, err := a.json(res.Hook); done {
			return err
		}
		a.showHook(res.Hook)
		return nil
	})
	describe.Aliases = []string{"show"}
	rm := verb("rm NAME", "Remove a hook", func(ctx context.Context, args []string) error {
		q := &weftv1.DeleteHookRequest{Namespace: a.namespace, Name: args[0]}
		if _, err := a.hooks().DeleteHook(ctx, q); err != nil {
			return err
		}
		return a.print(q, "%s is removed\n", args[0])
	})
	rm.Aliases = []string{"delete"}
	return group("hook", "Take signed calls of others as events: webhooks",
		verb("apply FILE...", "Make the hooks of files", func(ctx context.Context, args []string) error {
			return everyFile(args, func(file string, src []byte) error {
				res, err := a.hooks().ApplyHooks(ctx, &weftv1.ApplyHooksRequest{Namespace: a.namespace, File: file, Source: string(src)})
				if err != nil {
					return err
				}
				if lines := problemLines(res.Problems); len(lines) > 0 {
					return refused(file, lines)
				}
				if done, err := a.jsonLine(res); done {
					return err
				}
				for _, h := range res.Hooks {
					a.printf("%s: %s takes calls at %s\n", file, h.Name, h.Path)
					a.doubts(h.Doubts)
				}
				return nil
			})
		}),
		verb("list", "List hooks", func(ctx context.Context, _ []string) error {
			res, err := a.hooks().ListHooks(ctx, &weftv1.ListHooksRequest{Namespace: a.namespace})
			if err != nil {
				return err
			}
			var rows [][]string
			for _, h := range res.Hooks {
				rows = append(rows, []string{h.Name, h.Scheme, h.Path, h.Type})
			}
			return a.table(res, "NAME SCHEME PATH TYPE", rows)
		}),
		describe, rm)
}

func (a *app) showHook(h *weftv1.Hook) {
	a.printf("%s  %s\n", h.Name, h.Path)
	a.printf("  scheme    %s\n", h.Scheme)
	if h.Header != "" {
		a.printf("  signature %s: %s%s, an HMAC of %s\n", h.Header, h.Prefix, strings.ToUpper(h.Encoding), h.Algorithm)
	}
	a.printf("  secrets   %s\n", strings.Join(h.Secrets, ", "))
	a.printf("  type      %s\n", h.Type)
	id := h.Id
	if id == "" {
		id = "the SHA-256 of the body"
	}
	a.printf("  id        %s\n", id)
	a.printf("  source    %s\n", h.Source)
	a.doubts(h.Doubts)
}

func (a *app) hookWords(ctx context.Context) (words []string) {
	res, err := a.hooks().ListHooks(ctx, &weftv1.ListHooksRequest{Namespace: a.namespace})
	if err != nil {
		return nil
	}
	for _, h := range res.Hooks {
		words = append(words, h.Name)
	}
	return words
}
