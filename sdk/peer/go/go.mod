module github.com/weftrun/weft/sdk/peer/go

go 1.26
