package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

// completeMax bounds how long a shell waits for the words of a server.
const completeMax = time.Second

type completion = func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective)

// words are what completes the arguments of each command.
func (a *app) words() map[string]completion {
	runs, modules, handlers, flows, peers := once(a.runWords), once(a.moduleWords), once(a.handlerWords), once(a.workflowWords), once(a.peerWords)
	yaml := func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return []cobra.Completion{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
	}
	wasm := func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return []cobra.Completion{"wasm"}, cobra.ShellCompDirectiveFilterFileExt
	}
	return map[string]completion{
		"weft run describe": runs, "weft run watch": runs, "weft run pause": runs, "weft run resume": runs, "weft run cancel": runs, "weft run rerun": runs,
		"weft run start": flows, "weft workflow show": flows,
		"weft workflow apply": yaml, "weft peer policy apply": yaml, "weft hook apply": yaml, "weft workflow validate": yaml, "weft workflow graph": yaml, "weft test": yaml, "weft module push": wasm, "weft module inspect": wasm, "weft module run": wasm,
		"weft module show": modules, "weft module rm": modules, "weft module grant": modules, "weft module promote": modules,
		"weft handler call": handlers, "weft service describe": once(a.serviceWords),
		"weft hook describe": once(a.hookWords), "weft hook rm": once(a.hookWords),
		"weft breaker set": peers, "weft breaker open": peers, "weft breaker close": peers, "weft breaker reset": peers,
		"weft peer drain": peers, "weft peer rm": peers,
	}
}

// once asks for the words of a first argument; a server that fails or takes
// long has none.
func once(ask func(context.Context) []string) completion {
	return func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(c.Context(), completeMax)
		defer cancel()
		return ask(ctx), cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) runWords(ctx context.Context) (words []string) {
	res, err := a.runs().ListRuns(ctx, &weftv1.ListRunsRequest{Namespace: a.namespace})
	if err != nil {
		return nil
	}
	for _, r := range res.Runs {
		words = append(words, cobra.CompletionWithDesc(r.Id, r.Workflow+", "+statusOf(r)))
	}
	return words
}

func (a *app) moduleWords(ctx context.Context) (words []string) {
	res, err := a.modules().ListModules(ctx, &weftv1.ListModulesRequest{Namespace: a.namespace})
	if err != nil {
		return nil
	}
	for _, m := range res.Modules {
		words = append(words, m.Name+":"+m.Version)
	}
	return words
}

func (a *app) handlerWords(ctx context.Context) (words []string) {
	res, err := a.handlers().ListHandlers(ctx, &weftv1.ListHandlersRequest{Namespace: a.namespace})
	if err != nil {
		return nil
	}
	for _, h := range res.Handlers {
		name, _, _ := strings.Cut(h.Ref, ":")
		words = append(words, cobra.CompletionWithDesc(name, h.Description))
	}
	return words
}

func (a *app) workflowWords(ctx context.Context) (words []string) {
	res, err := a.workflows().ListWorkflows(ctx, &weftv1.ListWorkflowsRequest{Namespace: a.namespace})
	if err != nil {
		return nil
	}
	for _, w := range res.Workflows {
		words = append(words, w.Space+"/"+w.Name)
	}
	return slices.Compact(words)
}

func (a *app) peerWords(ctx context.Context) (words []string) {
	res, err := a.registry().ListInstances(ctx, &weftv1.ListInstancesRequest{Namespace: a.namespace})
	if err != nil {
		return nil
	}
	for _, i := range res.Instances {
		words = append(words, i.Service)
	}
	slices.Sort(words)
	return slices.Compact(words)
}
