# weft: `make demo` shows it, `make test` proves it.

GO         ?= go
TOOLS      := -modfile=.ci/tools/go.mod
STATICCHECK = $(GO) run $(TOOLS) honnef.co/go/tools/cmd/staticcheck

.PHONY: all need guests test fmt vet lint clean

all: guests

# A clear word instead of a page of errors.
need:
	@command -v $(GO) >/dev/null || { echo "missing: Go 1.26 or newer"; exit 1; }
	@command -v $${CC:-cc} >/dev/null || { echo "missing: a C compiler (apt-get install gcc libc6-dev)"; exit 1; }

guests: need
	$(MAKE) -C guests

test: need
	$(GO) test -race ./...
	$(MAKE) -C guests test

fmt:
	gofmt -w .

vet: need
	$(GO) vet ./...
	cd guests && $(GO) vet ./...
	cd sdk/go && $(GO) vet ./...

lint: need
	$(STATICCHECK) ./...

clean:
	rm -rf bin
