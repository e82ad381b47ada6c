"""What `isoenergy apply` is made of: the units that workers do, what is fitted first, the engines, the plan."""
