"""What people see: failure texts, the terminal's lines, Allure results."""
