import java.util.Arrays;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.security.core.userdetails.User;
import org.springframework.security.core.userdetails.UserDetails;
import org.springframework.security.core.userdetails.UserDetailsService;
import org.springframework.security.provisioning.InMemoryUserDetailsManager;

// Spring Authorization Server as Spring Boot sets it up by itself; its clients
// come by SPRING_APPLICATION_JSON. Only its users are ours: Boot has one.
@Configuration(proxyBeanMethods = false)
@EnableAutoConfiguration
public class Server {
    public static void main(String[] args) {
        SpringApplication.run(Server.class, args);
    }

    @Bean
    UserDetailsService users() {
        String password = "{noop}" + System.getenv("PASSWORD");
        return new InMemoryUserDetailsManager(Arrays.stream(System.getenv("USERS").split(","))
                .map(name -> User.withUsername(name).password(password).roles("USER").build())
                .toArray(UserDetails[]::new));
    }
}
