module github.com/weftrun/weft/guests

go 1.26

require (
	github.com/weftrun/weft/sdk/go v0.0.0
	github.com/weftrun/weft/sdk/peer/go v0.0.0
)

replace github.com/weftrun/weft/sdk/go => ../sdk/go

replace github.com/weftrun/weft/sdk/peer/go => ../sdk/peer/go
