package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

func (a *app) policyCommand() *cobra.Command {
	client := func() weftv1connect.PolicyServiceClient { return weftv1connect.NewPolicyServiceClient(a.client()) }
	return group("policy", "Say how peers are called: time, retries, limits, breakers",
		verb("apply FILE...", "Give peers the policies of files", func(ctx context.Context, args []string) error {
			return everyFile(args, func(file string, src []byte) error {
				res, err := client().ApplyPolicies(ctx, &weftv1.ApplyPoliciesRequest{Namespace: a.namespace, File: file, Source: string(src)})
				if err != nil {
					return err
				}
				if lines := problemLines(res.Problems); len(lines) > 0 {
					return refused(file, lines)
				}
				if done, err := a.jsonLine(res); done {
					return err
				}
				a.printf("%s: policies of %s\n", file, strings.Join(res.Peers, ", "))
				return nil
			})
		}),
		verb("show", "Print all policies, as apply takes them", func(ctx context.Context, _ []string) error {
			res, err := client().GetPolicies(ctx, &weftv1.GetPoliciesRequest{Namespace: a.namespace})
			if err != nil {
				return err
			}
			return a.print(res, "%s", res.Source)
		}))
}

// problemLines are problems as editors read them.
func problemLines(problems []*weftv1.Problem) (lines []string) {
	for _, p := range problems {
		l := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
		if p.Hint != "" {
			l += "; " + p.Hint
		}
		lines = append(lines, l)
	}
	return lines
}
