# Builds with cargo and installs with install(1); packagers may use cargo-c instead.
#
#   make                                        build
#   make install PREFIX=/usr/local DESTDIR=     install the library, the header and the pkg-config file
#   make uninstall PREFIX=/usr/local DESTDIR=   remove them
#   make check                                  run the tests

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig
DESTDIR ?=

CARGO ?= cargo
INSTALL ?= install
# release or debug
PROFILE ?= release
CARGO_TARGET_DIR ?= target

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
DESCRIPTION := $(shell sed -n 's/^description = "\(.*\)"/\1/p' Cargo.toml)
ABI := $(firstword $(subst ., ,$(VERSION)))
BUILT := $(CARGO_TARGET_DIR)/$(PROFILE)

# What a program that links libcnirt.a needs besides; a test compares with what rustc says.
PRIVATE_LIBS := -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc

.PHONY: all build check install uninstall

all: build

build:
	$(CARGO) build --locked --lib --target-dir '$(CARGO_TARGET_DIR)' $(if $(filter release,$(PROFILE)),--release)

check:
	$(CARGO) test --locked

install: build
	$(INSTALL) -d '$(DESTDIR)$(LIBDIR)' '$(DESTDIR)$(INCLUDEDIR)' '$(DESTDIR)$(PKGCONFIGDIR)'
	$(INSTALL) -m 755 $(BUILT)/libcnirt.so '$(DESTDIR)$(LIBDIR)/libcnirt.so.$(VERSION)'
	ln -sf libcnirt.so.$(VERSION) '$(DESTDIR)$(LIBDIR)/libcnirt.so.$(ABI)'
	ln -sf libcnirt.so.$(ABI) '$(DESTDIR)$(LIBDIR)/libcnirt.so'
	$(INSTALL) -m 644 $(BUILT)/libcnirt.a '$(DESTDIR)$(LIBDIR)/libcnirt.a'
	$(INSTALL) -m 644 include/cnirt.h '$(DESTDIR)$(INCLUDEDIR)/cnirt.h'
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(VERSION)|' -e 's|@DESCRIPTION@|$(DESCRIPTION)|' -e 's|@PRIVATE_LIBS@|$(PRIVATE_LIBS)|' \
	    cnirt.pc.in > '$(DESTDIR)$(PKGCONFIGDIR)/cnirt.pc'
	chmod 644 '$(DESTDIR)$(PKGCONFIGDIR)/cnirt.pc'

uninstall:
	rm -f '$(DESTDIR)$(LIBDIR)/libcnirt.so.$(VERSION)' '$(DESTDIR)$(LIBDIR)/libcnirt.so.$(ABI)' \
	    '$(DESTDIR)$(LIBDIR)/libcnirt.so' '$(DESTDIR)$(LIBDIR)/libcnirt.a' \
	    '$(DESTDIR)$(INCLUDEDIR)/cnirt.h' '$(DESTDIR)$(PKGCONFIGDIR)/cnirt.pc'
