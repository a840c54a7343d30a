package host_test

import (
	"fmt"
	"sync"
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

func TestOfTwoModulesWithOneServiceThatComeTogetherOneIsRefused(t *testing.T) {
	s := serve(t, host.Options{})
	s.apply("", stepping("echoed", "{ set: '${ . }' }"))
	for i := range 10 {
		set := said(t, fmt.Sprintf(`syntax = "proto3"; package race.v%d; message M {} service Race { rpc Run(M) returns (M); }`, i))
		var both sync.WaitGroup
		errs := make([]error, 2)
		for j := range errs {
			both.Go(func() {
				manifest := fmt.Sprintf(`{"name":"race%d-%d","version":"1.0.0","bind":[{"method":"race.v%d.Race/Run","workflow":"echoed"}]}`, i, j, i)
				_, errs[j] = s.push(s.client(), &weftv1.PushHeader{Manifest: []byte(manifest), Descriptors: set}, []byte("\x00asm\x01\x00\x00\x00"), 256)
			})
		}
		both.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || connect.CodeOf(errs[0]) != connect.CodeAlreadyExists && connect.CodeOf(errs[1]) != connect.CodeAlreadyExists {
			t.Fatalf("round %d: %v, and %v", i, errs[0], errs[1])
		}
	}
}
