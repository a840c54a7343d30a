module github.com/weftrun/weft

go 1.26.0

require (
	github.com/goccy/go-yaml v1.19.2
	github.com/itchyny/gojq v0.12.20
	github.com/mattn/go-sqlite3 v1.14.53
	github.com/oklog/ulid/v2 v2.1.2
	github.com/sosodev/duration v1.4.0
	github.com/tetratelabs/wazero v1.12.0
	golang.org/x/mod v0.42.0
	golang.org/x/sys v0.49.0
)

require github.com/itchyny/timefmt-go v0.1.9 // indirect
