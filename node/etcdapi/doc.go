// Package etcdapi serves the etcd v3 gRPC services (message types of go.etcd.io/etcd/api/v3) over the
// small Backend interface. It checks requests, translates them, and holds the one table that maps errors
// to etcd's gRPC codes and texts.
package etcdapi
