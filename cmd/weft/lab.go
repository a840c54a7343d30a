package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftrun/weft/host"
)

func (a *app) labCommand() *cobra.Command {
	var seed uint64
	var picture string
	breaker := verb("breaker", "Try settings of breakers for an hour each, in virtual time", func(context.Context, []string) error {
		outcomes := host.LabBreakers(seed)
		if picture != "" {
			if err := os.WriteFile(picture, []byte(host.LabBreakersPlot(seed)), 0o644); err != nil {
				return err
			}
		}
		data, err := json.Marshal(map[string]any{"outcomes": outcomes})
		if err != nil {
			return err
		}
		m := &structpb.Struct{}
		if err := m.UnmarshalJSON(data); err != nil {
			return err
		}
		var rows [][]string
		for _, o := range outcomes {
			rows = append(rows, []string{percent(o.Errors), o.Setting, percent(o.Available), percent(o.Refused), fmt.Sprint(o.Sick), o.Recovery.Round(time.Millisecond).String()})
		}
		return a.table(m, "ERRORS BREAKER AVAILABLE REFUSED SICK-CALLS RECOVERY", rows)
	})
	breaker.Flags().Uint64Var(&seed, "seed", 1, "of chance; the same seed gives the same table")
	breaker.Flags().StringVar(&picture, "svg", "", "`FILE` for a plot of the availability")
	return group("lab", "Experiments that show what a setting does", breaker)
}

func percent(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }
