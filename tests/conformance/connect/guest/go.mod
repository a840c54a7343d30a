module github.com/weftrun/weft/tests/conformance/connect/guest

go 1.26

require (
	github.com/weftrun/weft/sdk/go v0.0.0
	google.golang.org/protobuf v1.36.12
)

replace github.com/weftrun/weft/sdk/go => ../../../../sdk/go
