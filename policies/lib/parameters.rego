# Parameters of the binding, whatever their type turned out to be.
package provost.lib.parameters

import data.provost.lib.objects

given := objects.map(input, "parameters")

list(name) := objects.list(given, name)

map(name) := objects.map(given, name)
