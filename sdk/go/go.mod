module github.com/weftrun/weft/sdk/go

go 1.26
