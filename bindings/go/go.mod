module github.com/cnirt/cnirt/bindings/go

go 1.24
