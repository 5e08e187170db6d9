// Package kubestore asks Kubernetes itself whether Raftsman is etcd enough: a real API server keeps its objects in
// three members of Raftsman, whose leader is killed over and over, while objects are created, listed, watched and
// deleted by the ten thousand. What an informer would know is kept in a strict ledger, and the API server's own metrics
// must say that it used what etcd 3.7 has and older stores lack: streamed ranges and requests for progress. It has no
// code of its own; `make kubestore` runs it, as root on Linux.
package kubestore
