package main

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect/v2"
	"github.com/spf13/cobra"

	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

func (a *app) handlers() weftv1connect.HandlerServiceClient {
	return weftv1connect.NewHandlerServiceClient(a.client())
}

func (a *app) handlerCommand() *cobra.Command {
	var input string
	call := verb("call NAME[:VERSION]", "Call a handler, or a method of a service", func(ctx context.Context, args []string) error {
		body, err := a.inputOf("--input", input)
		if err != nil {
			return err
		}
		res, err := a.handlers().Call(ctx, &weftv1.CallRequest{Namespace: a.namespace, Handler: args[0], Body: body})
		if err != nil {
			return callError(args[0], err)
		}
		if done, err := a.json(res); done {
			return err
		}
		if res.Output != nil {
			a.printf("%s\n", text(res.Output))
			return nil
		}
		return a.written(res.Body)
	})
	call.Flags().StringVar(&input, "input", "", inputHelp)
	list := verb("list", "List handlers", func(ctx context.Context, _ []string) error {
		res, err := a.handlers().ListHandlers(ctx, &weftv1.ListHandlersRequest{Namespace: a.namespace})
		if err != nil {
			return err
		}
		var rows [][]string
		for _, h := range res.Handlers {
			rows = append(rows, []string{h.Ref, h.Module, h.Description})
		}
		return a.table(res, "HANDLER MODULE DESCRIPTION", rows)
	})
	return group("handler", "Call handlers", call, list)
}

// callError names the handler and its code.
func callError(handler string, err error) error {
	var e *connect.Error
	if errors.As(err, &e) && e.IsRemote() {
		return fmt.Errorf("handler %s: %s: %s", handler, e.Code(), e.Message())
	}
	return err
}
