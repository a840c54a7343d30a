// Command services measures a typed method of an uploaded module against the same
// method in generated Go: Connect's, and gRPC's. Each serves in a process of its
// own; this one is the load.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weftrun/weft/host"
)

const profileEnv = "WEFT_BENCH_PROFILE" // of a server: the file for its processor profile

func main() {
	host.Child()
	var err error
	if len(os.Args) > 2 && os.Args[1] == "__serve" {
		err = serveProcess(os.Args[2], os.Args[3])
	} else {
		err = run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "services:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	what := flag.String("what", "calls", "calls, or streams")
	quick := flag.Bool("quick", false, "no-op calls of the guest in C and of connect v2 alone, as lines of name and ratio")
	d := flag.Duration("for", 200*time.Millisecond, "length of one load")
	rounds := flag.Int("rounds", 15, "loads of each, which take turns; the best is shown")
	only := flag.String("cells", "", "such as h1_proto,h2_grpc; default all")
	who := flag.String("servers", "", "such as weft C,grpc-go, beside connect v2; default all")
	profile := flag.String("cpu", "", "write a processor profile of weft with the guest in C there")
	flag.Parse()
	b, err := prepare(ctx, *profile)
	if err != nil {
		return err
	}
	defer b.close()
	if *what == "streams" {
		return b.streams(ctx)
	}
	b.d, b.rounds = *d, *rounds
	b.pick(split(*only), split(*who), *quick)
	if err := b.measure(); err != nil {
		return err
	}
	if *quick {
		return b.ratios()
	}
	return b.table(os.Stdout)
}

func split(list string) []string {
	return slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return s == "" })
}
