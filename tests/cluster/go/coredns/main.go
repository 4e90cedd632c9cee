// CoreDNS with what a cluster needs of it: the plugins for the clouds would double the time to build it.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	// In the order in which they see a question.
	dnsserver.Directives = []string{"bind", "ready", "errors", "cache", "kubernetes", "startup", "shutdown"}
	coremain.Run()
}
