module github.com/cnirt/cnirt/benches/drivers/go

go 1.24.0

require (
	github.com/cnirt/cnirt/bindings/go v0.0.0
	github.com/containernetworking/cni v1.3.1
)

require (
	go.opentelemetry.io/otel v1.29.0 // indirect
	go.opentelemetry.io/otel/trace v1.29.0 // indirect
)

replace github.com/cnirt/cnirt/bindings/go => ../../../bindings/go
