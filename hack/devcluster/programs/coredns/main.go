// Command coredns is CoreDNS with only the plugins that a cluster without a way out needs. Names outside of
// the cluster's domain do not exist for it: there is nobody to forward them to.
package main

import (
	_ "github.com/coredns/coredns/core/dnsserver" // the server itself
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/template" // answers NXDOMAIN for the world outside
)

func main() {
	coremain.Run()
}
