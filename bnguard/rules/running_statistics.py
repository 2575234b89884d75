from bnguard.rules.registry import Rule

RULES: list[Rule] = []
