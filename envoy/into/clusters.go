package into

import (
	"fmt"
	"strings"
)

// clusters adds athd's at the end of those that are there.
func (p *plan) clusters() error {
	resources := p.spot(p.root, 0).get("static_resources")
	if err := resources.object("static_resources"); err != nil {
		return err
	}
	if resources.index("clusters") < 0 {
		all := piece{lines: []string{"clusters:"}}
		for _, one := range p.parts.clusters {
			all.lines = append(all.lines, one.lines...)
		}
		root, err := parsed(strings.Join(all.lines, "\n"))
		if err != nil {
			return err
		}
		all.key, all.value = root.Content[0], root.Content[1]
		return p.addMembers(resources, len(resources.Content), []piece{all})
	}
	list := resources.get("clusters")
	if !list.there() {
		return refuse(resources.Content[resources.index("clusters")].Line, "clusters has no element", "remove the line")
	}
	if err := list.list("clusters"); err != nil {
		return err
	}
	for _, one := range p.parts.clusters {
		name := (spot{one.value, p.document, 0}).text("name")
		if there := named(list.items(), name); there.there() {
			return refuse(there.Line, fmt.Sprintf("there is a cluster %q, not between athd's marks", name), "remove what was pasted of athd's parts by hand, or rename the cluster")
		}
	}
	return p.addItems(list, len(list.Content), p.parts.clusters)
}
