// The DNS server of Ratchet's test bench: CoreDNS with the few plugins that names of Services and pods need. The stock
// program brings every cloud's client library along, which would double the bench's build time.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// CoreDNS runs its plugins in the order of this list.
	dnsserver.Directives = []string{"bind", "health", "errors", "kubernetes", "template"}
	coremain.Run()
}
