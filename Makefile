# make help tells what there is to make.

GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=
# Shown by --version; without it, what the build records.
VERSION ?=

FLAGS    = -trimpath $(if $(VERSION),-ldflags '-X sockbox/applets/internal/cli.version=$(VERSION)')
FUZZTIME ?= 10s

# The race detector needs cgo and a C compiler.
RACE = [ "$$($(GO) env CGO_ENABLED)" = 1 ] && command -v "$$($(GO) env CC)" >/dev/null

.PHONY: all sockbox check lint test generate demo cross bench install uninstall deb links fuzz clean help
.DEFAULT_GOAL = all

all: sockbox ## build ./sockbox, static (the default)

sockbox:
	CGO_ENABLED=0 $(GO) build $(FLAGS) -o $@ .

check: lint test ## everything that a change must pass

lint:
	@bad=$$(gofmt -l *.go applets buffer scripts) && [ -z "$$bad" ] || { echo "gofmt: $$bad"; exit 1; }
	$(GO) vet ./...
	@if command -v staticcheck >/dev/null; then echo staticcheck ./...; staticcheck ./...; \
	else echo 'staticcheck: not here, skipped'; fi
	@if command -v shellcheck >/dev/null; then \
		files=$$(find scripts .ci/run -type f \( -name '*.sh' -o -perm -100 \) 2>/dev/null); \
		echo shellcheck -x $$files; [ -z "$$files" ] || shellcheck -x $$files; \
	else echo 'shellcheck: not here, skipped'; fi

test: ## run all tests, with the race detector where it can be had
	@for peer in $$(grep -oh '^\[!peer:[^]]*\]' testdata/*.txtar | sed 's/.*://; s/]//' | sort -u); do \
		found=; for dir in $$(echo "$$PATH" | tr : ' '); do \
			[ -z "$$(find -H "$$dir" -maxdepth 1 -name "$$peer" 2>/dev/null | head -n 1)" ] || found=yes; \
		done; \
		[ "$$found" ] || echo "$$peer is not installed: $$(grep -lF "[!peer:$$peer]" testdata/*.txtar | wc -l) scripts are left out, or parts of them"; \
	done
	@if $(RACE); then echo '$(GO) test -race -timeout 30m ./...'; $(GO) test -race -timeout 30m ./...; \
	else echo '$(GO) test ./... (without -race: no C compiler)'; $(GO) test ./...; fi

generate: ## write completions/, the page of protocols and the tables in README.md from what the code says
	@mkdir -p completions
	$(GO) test ./applets -count=1 -run '^TestGenerated$$' -update

demo: sockbox ## run scripts/demo.sh
	PATH="$(CURDIR):$$PATH" bash scripts/demo.sh

cross: ## see that it builds for the other systems
	@for os in linux darwin freebsd; do for arch in amd64 arm64; do \
		echo "$$os/$$arch"; CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -o /dev/null . || exit 1; \
	done; done

bench: sockbox ## run the benchmarks in scripts/bench
	@for script in scripts/bench/*; do \
		if [ -f "$$script" ] && [ -x "$$script" ]; then PATH="$(CURDIR):$$PATH" "$$script" || exit 1; fi; \
	done

# As variables of the environment they may hold what a shell would take for its own.
install uninstall: export PREFIX := $(PREFIX)
install uninstall: export DESTDIR := $(DESTDIR)

install: sockbox ## install into DESTDIR and PREFIX: the program, links, man pages, completions, units
	scripts/package/install.sh install

uninstall: ## take away what install put there
	scripts/package/install.sh uninstall

deb: ## make a Debian package, sockbox_VERSION_ARCH.deb, and try it in a root of its own
	package=$$(VERSION='$(VERSION)' scripts/package/deb.sh .) && echo "$$package" && \
	scripts/package/check-deb.sh "$$package"

links: sockbox ## make a link for every applet in bin/
	mkdir -p bin
	./sockbox --install bin

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' "$$package" | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" || exit 1; \
		done; \
	done

clean: ## remove what was built
	rm -f sockbox sockbox_*.deb
	rm -rf bin

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r target text; do \
		printf '%-10s %s\n' "$$target" "$$text"; done
