# weft: `make demo` shows it, `make test` proves it.

GO         ?= go
TOOLS      := -modfile=.ci/tools/go.mod
STATICCHECK = $(GO) run $(TOOLS) honnef.co/go/tools/cmd/staticcheck

# Not "Entering directory" before and after what people want to read.
MAKEFLAGS += --no-print-directory

.PHONY: all need build guests toolchains demo test conformance test-power test-kill test-sim fuzz-meter fuzz generate bench bench-peers bench-parked soak figures fmt vet lint clean

all: build guests

# A clear word instead of a page of errors.
need:
	@command -v $(GO) >/dev/null || { echo "missing: Go 1.26 or newer"; exit 1; }
	@command -v $${CC:-cc} >/dev/null || { echo "missing: a C compiler (apt-get install gcc libc6-dev)"; exit 1; }

build: need
	$(GO) build -o bin/weft ./cmd/weft

# The shop on one file: an order, a dead peer, a killed weft. KEEP=1 leaves it running.
demo: build guests
	KEEP=$(KEEP) bash tests/demo/run

# Go code of the API from proto/weft/v1, of the order module from its .proto, of
# what the SDK for Go has of Google's messages, and that SDK as weft writes it.
generate: need
	cd proto && $(GO) run -modfile=../.ci/tools/go.mod github.com/bufbuild/buf/cmd/buf lint
	cd proto && $(GO) run -modfile=../.ci/tools/go.mod github.com/bufbuild/buf/cmd/buf generate
	$(GO) run ./cmd/weft module generate guests/order --lang go --descriptors guests/order/descriptors.binpb
	$(GO) test ./host/stubs -run Known -args -pack
	$(GO) test ./sdk -run Packed -args -pack

# Benchmarks of the rooms, the figures, and the table of docs/PERFORMANCE.md.
bench: build
	$(GO) test -run '^$$' -bench . ./store ./runtime/wasm ./workflows ./workflows/machine ./host/peers ./host/breaker
	cd tests/bench/breakers && $(GO) test -run '^$$' -bench .
	cd tests/bench/services && $(GO) test -run '^$$' -bench . && $(GO) run . && $(GO) run . -what streams
	$(GO) run ./tests/figures
	$(GO) run ./tests/bench/report loads

# A call of a guest in weft and in what else runs guests in Go, and plug-ins of
# Extism as their authors built them. It has libraries of its own.
bench-peers: need
	cd tests/bench/peers && $(GO) test -count=1 -bench . .

# A million runs that wait, and a restart with them.
bench-parked: need
	$(GO) run ./tests/bench/report parked

# A mix of runs that must not make the process or its file grow.
SOAK ?= 10m
soak: need
	$(GO) run ./tests/bench/report soak -for $(SOAK)

# One line a figure: figure NAME VALUE UNIT. ONLY=skeleton picks a group.
figures: build
	$(GO) run ./tests/figures $(ONLY)

guests: need
	$(MAKE) -C guests

# What guests in C, Rust, AssemblyScript and Zig are built with, and clients tested
# with, as far as it is not there: by root from Debian, and from npm. Fails where
# something is missing then.
toolchains:
	@guests/toolchains/install

test: need
	@guests/toolchains/install || echo "the tests with those are skipped"
	$(GO) test -race -timeout 40m $$($(GO) list ./... | grep -v '/tests/\(e2e\|clients\)$$')
	$(GO) test -race -count=1 -timeout 40m ./tests/e2e ./tests/clients # they run what Go's test cache does not see
	cd tests/toxic && $(GO) test -race .
	$(MAKE) -C guests test

# The conformance suite of Connect's authors against what serves modules, by code
# of ours and by an uploaded module: all cases of
# tests/conformance/connect/shipped.yaml. make test runs a quarter.
conformance: need
	$(GO) test -count=1 -v ./tests/conformance/connect -args -whole

# Power cuts and failing disks: docs/DURABILITY.md.
test-power: need
	$(GO) test -count=1 -timeout 30m -v ./tests/chaos -images 600 -rounds 24

# 500 times kill -9 in the middle of work.
test-kill: need
	$(GO) test -count=1 -timeout 60m -v -run Killed ./tests/e2e -kills 500

# A thousand seeds of the whole engine in virtual time, each twice; histories of
# racing clients; and bugs planted in the engine, which both must find. A seed
# that fails says how to run it again.
test-sim: need
	bash -o pipefail -c "$(GO) test -count=1 -timeout 60m -v ./tests/simulation -seeds 1000 -plants 99 | grep -av '^ *=== \|^ *--- PASS'"

# Modules against their metered forms: a hundred thousand of chance and mutants,
# the whole core test suite of WebAssembly, and bugs planted in the rewriting,
# which the comparison must find.
fuzz-meter: need
	$(GO) test -count=1 -timeout 60m -v -run 'OfChance|CoreTestSuite|Planted' ./runtime/wasm/meter -modules 100000 -plants 9

# What reads the bytes of strangers, each for FUZZ, and generated code on messages of
# chance. What is found stays in testdata.
FUZZ ?= 1m
fuzz: need
	$(GO) test -run '^$$' -fuzz FuzzRewrite -fuzztime $(FUZZ) ./runtime/wasm/meter
	$(GO) test -run '^$$' -fuzz FuzzDifference -fuzztime $(FUZZ) ./runtime/wasm/meter
	$(GO) test -run '^$$' -fuzz FuzzManifest -fuzztime $(FUZZ) ./runtime/wasm
	$(GO) test -run '^$$' -fuzz FuzzABI -fuzztime $(FUZZ) ./runtime/wasm
	$(GO) test -run '^$$' -fuzz FuzzJSON -fuzztime $(FUZZ) ./host/services
	$(GO) test -count=1 ./host/stubs -run Protobuf -args -rounds 50000

fmt:
	gofmt -w .

vet: need
	$(GO) vet ./...
	cd guests && $(GO) vet ./...
	cd sdk/go && $(GO) vet ./...
	cd sdk/peer/go && $(GO) vet .
	cd tests/bench/breakers && $(GO) vet ./...
	cd tests/bench/peers && $(GO) vet .
	cd tests/bench/services && $(GO) vet ./... && cd guests/orders && GOOS=wasip1 GOARCH=wasm $(GO) vet .
	cd tests/toxic && $(GO) vet .
	cd tests/conformance/connect/guest && GOOS=wasip1 GOARCH=wasm $(GO) vet ./...

lint: need
	$(STATICCHECK) ./...

clean:
	rm -rf bin
